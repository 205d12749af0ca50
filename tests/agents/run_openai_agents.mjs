// OpenAI's agents SDK for Node, on its responses API or on chat completions:
// node run_openai_agents.mjs BASE_URL [--chat] [--stream]

import { packages } from "./packages.mjs";

const { Agent, Runner, OpenAIProvider, setTracingDisabled, tool } = await packages("@openai/agents");
const { z } = await packages("zod");

setTracingDisabled(true);
const [base] = process.argv.slice(2);
const getWeather = tool({
  name: "get_weather",
  description: "The weather in a city.",
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => `Sunny in ${city}`,
});
const modelProvider = new OpenAIProvider({
  baseURL: `${base}/v1`,
  apiKey: "sk-test",
  useResponses: !process.argv.includes("--chat"),
});
const agent = new Agent({
  name: "Weather",
  model: "gpt-4o",
  instructions: "Use the tool.",
  tools: [getWeather],
});
const stream = process.argv.includes("--stream");
const runner = new Runner({ modelProvider });
const run = await runner.run(agent, "How is the weather in Berlin and Paris?", { stream });
if (stream) {
  for await (const _ of run);
  await run.completed;
}
console.log(run.finalOutput);
process.exit(0);
