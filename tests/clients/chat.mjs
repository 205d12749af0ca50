// Asks with the official openai client for Node and prints what it made of each answer, as JSON.
//
//     node chat.mjs BASE_URL REQUESTS
//
// REQUESTS is a JSON array of chat requests; each is asked twice.

import { createRequire } from "node:module";

// The packages are installed under target/, apart from the sources.
const packages = new URL("../../target/node/", import.meta.url);
const OpenAI = createRequire(packages)("openai").default;

const [baseURL, requests] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "sk-node", maxRetries: 0 });

async function ask(request) {
  const { data, response } = await client.chat.completions.create(request).withResponse();
  const parsed = [];
  if (request.stream) {
    for await (const chunk of data) parsed.push(chunk);
  } else {
    parsed.push(data);
  }
  return { cache: response.headers.get("x-cache"), parsed };
}

const results = [];
for (const request of JSON.parse(requests)) {
  results.push([await ask(request), await ask(request)]);
}
console.log(JSON.stringify(results));
