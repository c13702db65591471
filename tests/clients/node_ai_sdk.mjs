// Vercel's AI SDK over both makers' protocols: text, streams, a tool in a loop, objects by a schema.
import assert from "node:assert";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const name = process.env.MODEL;
const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const anthropic = createAnthropic({
  baseURL: `${process.env.ANTHROPIC_BASE_URL}/v1`,
  apiKey: process.env.ANTHROPIC_API_KEY,
});
for (const model of [openai.chat(name), openai.responses(name), anthropic(name)]) {
  const { text } = await generateText({ model, prompt: "Say hello.", maxRetries: 0 });
  assert.match(text, /hello/i);
  let streamed = "";
  for await (const more of streamText({ model, prompt: "Say hello.", maxRetries: 0 }).textStream)
    streamed += more;
  assert.match(streamed, /hello/i);
  let asked = 0;
  const tools = {
    weather: tool({
      description: "The weather",
      inputSchema: z.object({}),
      execute: async () => ((asked += 1), "rain"),
    }),
  };
  const looped = await generateText({
    model,
    tools,
    prompt: "Use the tool.",
    stopWhen: stepCountIs(3),
    maxRetries: 0,
  });
  assert.equal(asked, 1);
  assert.match(looped.text, /rain/);
}
console.log("AI SDK: ok");
