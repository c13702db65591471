// OpenAI's package for Node: chats, streams, tools, responses, embeddings.
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const model = process.env.MODEL;
const messages = [{ role: "user", content: "Say hello." }];

const chat = await client.chat.completions.create({ model, messages });
assert.match(chat.choices[0].message.content, /hello/i);
assert.ok(chat.usage.cost >= 0);
let text = "";
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true }))
  text += chunk.choices[0]?.delta?.content ?? "";
assert.match(text, /hello/i);

const response = await client.responses.create({ model, input: "Say hello." });
assert.match(response.output_text, /hello/i);
const stream = client.responses.stream({ model, input: "Say hello." });
let deltas = "";
stream.on("response.output_text.delta", (event) => (deltas += event.delta));
const whole = await stream.finalResponse();
assert.equal(deltas, whole.output_text);
const next = await client.responses.create({ model, input: "Again.", previous_response_id: whole.id });
assert.equal(next.previous_response_id, whole.id);

const tool = { type: "function", name: "weather", strict: false, parameters: { type: "object", properties: {} } };
const asked = await client.responses.create({ model, input: "Use the tool.", tools: [tool] });
const call = asked.output.find((item) => item.type === "function_call");
assert.equal(call.name, "weather");
const told = await client.responses.create({
  model,
  previous_response_id: asked.id,
  tools: [tool],
  input: [{ type: "function_call_output", call_id: call.call_id, output: "rain" }],
});
assert.match(told.output_text, /rain/);
const embedded = await client.embeddings.create({ model: "int8", input: "a cat" });
assert.equal(embedded.data[0].embedding.length, 384);
await assert.rejects(client.chat.completions.create({ model: "gpt-99", messages }), OpenAI.NotFoundError);
console.log("openai for Node: ok");
