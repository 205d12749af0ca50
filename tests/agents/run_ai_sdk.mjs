// The AI SDK on OpenAI's responses, on chat completions, on Anthropic's messages, and on Gemini, whose
// calls have no ids: node run_ai_sdk.mjs BASE_URL [--chat | --anthropic | --gemini] [--stream]

import { packages } from "./packages.mjs";

const { generateText, streamText, stepCountIs, tool } = await packages("ai");
const { createOpenAI } = await packages("@ai-sdk/openai");
const { z } = await packages("zod");

const [base] = process.argv.slice(2);
const has = (flag) => process.argv.includes(flag);
const openai = createOpenAI({ baseURL: `${base}/v1`, apiKey: "sk-test" });

async function chosen() {
  if (has("--gemini")) {
    const { createGoogleGenerativeAI } = await packages("@ai-sdk/google");
    const google = createGoogleGenerativeAI({ baseURL: `${base}/v1beta`, apiKey: "test-key" });
    return google("gemini-2.5-flash");
  }
  if (has("--anthropic")) {
    const { createAnthropic } = await packages("@ai-sdk/anthropic");
    return createAnthropic({ baseURL: `${base}/v1`, apiKey: "test-key" })("claude-sonnet-4-5");
  }
  return has("--chat") ? openai.chat("gpt-4o") : openai.responses("gpt-4o");
}

const asked = {
  model: await chosen(),
  maxRetries: 0,
  prompt: "How is the weather in Berlin and Paris?",
  stopWhen: stepCountIs(4),
  tools: {
    get_weather: tool({
      description: "The weather in a city.",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => `Sunny in ${city}`,
    }),
  },
};
const text = has("--stream") ? await streamText(asked).text : (await generateText(asked)).text;
console.log(text);
