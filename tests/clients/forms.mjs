// Asks in either form with Vercel's AI SDK, or with OpenAI's own client, and prints what came of it.
//
//     node forms.mjs URL QUESTIONS
//
// QUESTIONS is a JSON array of {client, streams, text, standin}; the answers are printed as JSON.

import { createRequire } from "node:module";

// The packages are installed under target/, apart from the sources.
const packages = createRequire(new URL("../../target/node/", import.meta.url));
const { generateText, jsonSchema, streamText, tool } = packages("ai");
const { createAnthropic } = packages("@ai-sdk/anthropic");
const { createOpenAI } = packages("@ai-sdk/openai");
const OpenAI = packages("openai").default;

const [url, questions] = process.argv.slice(2);
globalThis.AI_SDK_LOG_WARNINGS = false;
let headers = {};

async function watched(...request) {
  const answer = await fetch(...request);
  headers = answer.headers;
  return answer;
}

const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "sk-node", fetch: watched });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: "sk-node", fetch: watched });
const MODELS = {
  openai_chat: openai.chat("stand-in"),
  openai_responses: openai.responses("stand-in"),
  anthropic_messages: anthropic("stand-in"),
};

const lookUp = tool({
  inputSchema: jsonSchema({ type: "object", properties: { query: { type: "string" } } }),
});

async function askVercel({ client, streams, text, standin }) {
  const question = {
    model: MODELS[client],
    prompt: text,
    tools: { look_up: lookUp },
    headers: standin ? { "x-stainless-standin": standin } : {},
    maxRetries: 0,
    // Otherwise its requests for streams differ from the others in more than that.
    providerOptions: { anthropic: { toolStreaming: false } },
    // What is not thrown here would only be printed.
    onError: ({ error }) => { throw error; },
  };
  const answer = streams ? streamText(question) : await generateText(question);
  return {
    // The SDK gives sources ids of its own, at random.
    content: (await answer.content).map((part) =>
      part.type === "source" ? { ...part, id: "source" } : part),
    finishReason: await answer.finishReason,
    usage: await answer.usage,
    metadata: await answer.providerMetadata,
    id: (await answer.response).id,
    model: (await answer.response).modelId,
  };
}

async function askOpenai({ streams, text, standin }) {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "sk-node", maxRetries: 0,
    fetch: watched });
  const question = { model: "stand-in", messages: [{ role: "user", content: text }], n: 2 };
  const options = { headers: standin ? { "x-stainless-standin": standin } : {} };
  if (!streams) return client.chat.completions.create(question, options);
  const usage = { stream_options: { include_usage: true } };
  return client.chat.completions.stream({ ...question, ...usage }, options).finalChatCompletion();
}

const results = [];
for (const question of JSON.parse(questions)) {
  const made = await (question.client === "openai" ? askOpenai : askVercel)(question);
  results.push({ cache: headers.get("x-cache"), made });
}
console.log(JSON.stringify(results));
