"""Programs that use the gateway, for `/docs`: curl, Python and Node, whole and as they are run by
the tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CodeSample:
    """One program. `{address}` and `{key}` stand for the gateway's and the reader's own."""

    title: str
    language: str
    text: str


SAMPLES = (
    CodeSample(
        "One answer, with curl",
        "bash",
        """curl {address}/v1/chat/completions -H "Authorization: Bearer {key}" -d '{
  "model": "auto", "messages": [{"role": "user", "content": "Say hello in French."}]}'""",
    ),
    CodeSample(
        "A stream, in Python (openai)",
        "python",
        """from openai import OpenAI

client = OpenAI(base_url="{address}/v1", api_key="{key}")
stream = client.chat.completions.create(
    model="auto:economy",
    messages=[{"role": "user", "content": "Tell a story of three sentences."}],
    stream=True,
)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
print()""",
    ),
    CodeSample(
        "Which model answered, what it cost, and a thumb for it (openai)",
        "python",
        """from openai import OpenAI

client = OpenAI(base_url="{address}/v1", api_key="{key}")
got = client.chat.completions.with_raw_response.create(
    model="auto",
    messages=[{"role": "user", "content": "Summarise: bread is made of flour and water."}],
    extra_body={"pointsman": {"profile": "quality", "constraints": {"max_latency_s": 60}}},
)
print(got.headers["x-pointsman-model"], got.parse().choices[0].message.content)
thumb = {"request_id": got.headers["x-pointsman-request-id"], "thumb": "up"}
print(client.post("/feedback", body=thumb, cast_to=object))""",
    ),
    CodeSample(
        "A tool, in Python (openai)",
        "python",
        """from openai import OpenAI

client = OpenAI(base_url="{address}/v1", api_key="{key}")
weather = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
got = client.chat.completions.create(
    model="auto",
    messages=[{"role": "user", "content": "What is the weather in Vienna?"}],
    tools=[weather],
    tool_choice="required",
)
print(got.choices[0].message.tool_calls[0].function.arguments)""",
    ),
    CodeSample(
        "An object of a given form, in Node (openai)",
        "javascript",
        """import OpenAI from "openai";

const client = new OpenAI({ baseURL: "{address}/v1", apiKey: "{key}" });
const schema = {
  type: "object",
  properties: { city: { type: "string" }, people: { type: "integer" } },
  required: ["city", "people"],
  additionalProperties: false,
};
const got = await client.chat.completions.create({
  model: "auto",
  messages: [{ role: "user", content: "About 2000000 people live in Vienna. Extract." }],
  response_format: { type: "json_schema", json_schema: { name: "place", schema, strict: true } },
});
console.log(JSON.parse(got.choices[0].message.content));""",
    ),
    CodeSample(
        "A stream, in Node (AI SDK, @ai-sdk/openai)",
        "javascript",
        """import { createOpenAI } from "@ai-sdk/openai";
import { streamText } from "ai";

const pointsman = createOpenAI({ baseURL: "{address}/v1", apiKey: "{key}" });
const { textStream } = streamText({ model: pointsman.chat("auto"), prompt: "Say hello." });
for await (const text of textStream) process.stdout.write(text);
console.log();""",
    ),
    CodeSample(
        "An answer in Anthropic's form (anthropic)",
        "python",
        """from anthropic import Anthropic

client = Anthropic(base_url="{address}", api_key="{key}")
got = client.messages.create(
    model="auto",
    max_tokens=500,
    messages=[{"role": "user", "content": "Say hello in French."}],
)
print(got.content[0].text)""",
    ),
)


def filled(text: str, address: str, key: str) -> str:
    """A sample's text for somebody's gateway and key."""
    return text.replace("{address}", address).replace("{key}", key)
