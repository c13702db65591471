"""LangChain over both makers' protocols, and LiteLLM as a client."""

import os

import litellm
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

MODEL = os.environ["MODEL"]
ADDRESS = os.environ["ANTHROPIC_BASE_URL"]
KEY = os.environ["OPENAI_API_KEY"]


@tool
def weather() -> str:
    """The weather."""
    return "rain"


for model in (
    ChatOpenAI(model=MODEL, max_retries=0),
    ChatOpenAI(model=MODEL, max_retries=0, use_responses_api=True),
    ChatAnthropic(model=MODEL, max_retries=0, base_url=ADDRESS, api_key=KEY),
):
    said = model.invoke("Say hello.")
    assert "hello" in said.text.lower(), said
    streamed = "".join(chunk.text for chunk in model.stream("Say hello."))
    assert "hello" in streamed.lower(), streamed
    asked = HumanMessage("Use the tool.")
    with_tools = model.bind_tools([weather])
    called = with_tools.invoke([asked])
    (call,) = called.tool_calls
    assert call["name"] == "weather", call
    told = with_tools.invoke([asked, called, ToolMessage("rain", tool_call_id=call["id"])])
    assert "rain" in told.text, told
    print("LangChain", type(model).__name__, "ok")
vectors = OpenAIEmbeddings(model="int8", check_embedding_ctx_length=False).embed_query("a cat")
assert len(vectors) == 384
for name, base in ((f"openai/{MODEL}", f"{ADDRESS}/v1"), (f"anthropic/{MODEL}", ADDRESS)):
    got = litellm.completion(
        model=name,
        api_base=base,
        api_key=KEY,
        messages=[{"role": "user", "content": "Say hello."}],
        num_retries=0,
    )
    assert "hello" in got.choices[0].message.content.lower(), got
    print("LiteLLM", name.split("/")[0], "ok")
