// Anthropic's package for Node: messages, streams, tools, counts, errors.
import assert from "node:assert";
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ maxRetries: 0 });
const model = process.env.MODEL;
const asked = { model, max_tokens: 100, messages: [{ role: "user", content: "Say hello." }] };

const message = await client.messages.create(asked);
assert.match(message.content.at(-1).text, /hello/i);
const stream = client.messages.stream(asked);
let text = "";
stream.on("text", (more) => (text += more));
const whole = await stream.finalMessage();
assert.match(text, /hello/i);
assert.equal(whole.stop_reason, "end_turn");

const tools = [{ name: "weather", description: "", input_schema: { type: "object", properties: {} } }];
const messages = [{ role: "user", content: "Use the tool." }];
const called = await client.messages.create({ ...asked, tools, messages });
assert.equal(called.stop_reason, "tool_use");
const call = called.content.find((block) => block.type === "tool_use");
messages.push({ role: "assistant", content: called.content });
messages.push({ role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "rain" }] });
const told = await client.messages.create({ ...asked, tools, messages });
assert.match(told.content.at(-1).text, /rain/);
assert.ok((await client.messages.countTokens({ model, messages: asked.messages })).input_tokens > 0);
await assert.rejects(client.messages.create({ ...asked, model: "gpt-99" }), Anthropic.NotFoundError);
console.log("anthropic for Node: ok");
