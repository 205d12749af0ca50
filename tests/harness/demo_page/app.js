// The page of `make demo` and `make run`: asks one question twice and shows how the answers came.
// Answers are shown as text; nothing of them is ever markup.

// How each API is asked, and what of its answers is shown. `text` and `usage` get each document of an
// answer: the data of an event, a line, or the whole. `ends` tells the document that ends a stream.
const APIS = {
  openai_chat: {
    label: "OpenAI Chat",
    model: "gpt-4o-mini",
    path: () => "/v1/chat/completions",
    headers: (key) => ({authorization: `Bearer ${key}`}),
    body: (question, model, streams) => ({
      model, stream: streams, ...(streams && {stream_options: {include_usage: true}}),
      messages: [{role: "user", content: question}],
    }),
    text: (document) => document.choices?.[0]?.delta?.content ?? document.choices?.[0]?.message?.content,
    usage: ({usage}) => usage && [usage.prompt_tokens, usage.completion_tokens],
    ends: (document) => document === DONE,
  },
  openai_responses: {
    label: "OpenAI Responses",
    model: "gpt-4o-mini",
    path: () => "/v1/responses",
    headers: (key) => ({authorization: `Bearer ${key}`}),
    body: (question, model, streams) => ({model, stream: streams, input: question, store: false}),
    text: (document) => document.type === "response.output_text.delta"
      ? document.delta
      : document.output?.flatMap((item) => item.content ?? []).map((part) => part.text ?? "").join(""),
    usage: (document) => {
      const usage = document.usage ?? document.response?.usage;
      return usage && [usage.input_tokens, usage.output_tokens];
    },
    ends: ({type}) => type === "response.completed" || type === "response.incomplete",
  },
  anthropic_messages: {
    label: "Anthropic",
    model: "claude-sonnet-4-5",
    path: () => "/v1/messages",
    headers: (key) => ({
      "x-api-key": key, "anthropic-version": "2023-06-01",
      "anthropic-dangerous-direct-browser-access": "true",
    }),
    body: (question, model, streams) => ({
      model, stream: streams, max_tokens: 1024, messages: [{role: "user", content: question}],
    }),
    text: (document) => document.delta?.text
      ?? (document.type === "message" ? document.content.map((part) => part.text ?? "").join("") : ""),
    usage: (document) => {
      const usage = document.usage ?? document.message?.usage;
      return usage && [usage.input_tokens, usage.output_tokens];
    },
    ends: ({type}) => type === "message_stop",
  },
  gemini: {
    label: "Gemini",
    model: "gemini-2.5-flash",
    path: (model, streams) => `/v1beta/models/${encodeURIComponent(model)}:`
      + (streams ? "streamGenerateContent?alt=sse" : "generateContent"),
    headers: (key) => ({"x-goog-api-key": key}),
    body: (question) => ({contents: [{role: "user", parts: [{text: question}]}]}),
    text: (document) => document.candidates?.[0]?.content?.parts?.map((part) => part.text ?? "").join(""),
    usage: ({usageMetadata: usage}) => usage && [usage.promptTokenCount, usage.candidatesTokenCount],
    ends: (document) => document.candidates?.[0]?.finishReason !== undefined,
  },
  ollama: {
    label: "Ollama",
    model: "llama3.2",
    path: () => "/api/chat",
    headers: (key) => (key ? {authorization: `Bearer ${key}`} : {}),
    body: (question, model, streams) => ({
      model, stream: streams, messages: [{role: "user", content: question}],
    }),
    text: (document) => document.message?.content,
    usage: (document) => document.done && [document.prompt_eval_count, document.eval_count],
    ends: ({done}) => done === true,
  },
};

// What OpenAI sends in the place of a last document.
const DONE = Symbol("[DONE]");

const QUESTIONS = [
  "Why is a cache in front of a model a good idea?",
  "When is a cache in front of a model a bad idea?",
  "What does a gateway do for a language model?",
];

const byId = (id) => document.getElementById(id);

/** Reads an event stream as it comes (WHATWG HTML, 9.2.6), and calls `take` with the data of each event. */
export class EventStream {
  #take;
  #rest = "";
  #data = [];
  #isFirst = true;

  constructor(take) {
    this.#take = take;
  }

  feed(text) {
    this.#rest += text;
    if (this.#isFirst && this.#rest) {
      this.#rest = this.#rest.replace(/^\ufeff/, "");
      this.#isFirst = false;
    }
    // A CR at the end may be half of a line's end.
    for (let end; (end = /\r\n|\n|\r(?!$)/.exec(this.#rest)); ) {
      this.#line(this.#rest.slice(0, end.index));
      this.#rest = this.#rest.slice(end.index + end[0].length);
    }
  }

  /** The stream is over: a CR that came last ends its line. What no blank line ended is no event. */
  end() {
    this.feed("\n");
  }

  #line(line) {
    if (line === "") {
      if (this.#data.length) this.#take(this.#data.join("\n"));
      this.#data = [];
      return;
    }
    const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (field === "data") this.#data.push(value ?? "");
  }
}

/** Reads newline-delimited JSON as it comes. */
export class Lines {
  #take;
  #rest = "";

  constructor(take) {
    this.#take = take;
  }

  feed(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    lines.filter((line) => line.trim()).forEach(this.#take);
  }

  end() {
    if (this.#rest.trim()) this.#take(this.#rest);
  }
}

class Pane {
  constructor(element, title) {
    element.append(byId("pane").content.cloneNode(true));
    this.element = element;
    this.find("h2").textContent = title;
    this.clear();
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  clear() {
    for (const selector of [".answer", ".fault", ".saved", ".badge"]) this.find(selector).textContent = "";
    this.find(".badge").removeAttribute("data-cache");
    this.facts({"cache-status": "", age: "", "first byte": "", total: "", pieces: "", tokens: ""});
  }

  facts(facts) {
    this.find(".facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => {
      const [term, description] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      description.textContent = value || "–";
      return [term, description];
    }));
  }

  /** Asks, and shows the answer as it comes. Says what it took. */
  async ask(api, request) {
    this.clear();
    const answer = this.find(".answer");
    answer.classList.add("coming");
    const taken = {firstByte: null, total: null, pieces: 0, tokens: null, text: "", cache: null, failed: false};
    try {
      await this.read(api, request, taken, answer);
    } catch (error) {
      taken.failed = true;
      this.find(".fault").textContent = `${error.message ?? error}`;
    }
    answer.classList.remove("coming");
    return taken;
  }

  async read(api, {path, headers, body}, taken, answer) {
    const start = performance.now();
    // `cache: "no-store"` would ask the cache in Envoy for a new answer. Browsers cache no POST.
    const response = await fetch(path, {method: "POST", headers, body, credentials: "omit"});
    taken.cache = response.headers.get("x-cache");
    const badge = this.find(".badge");
    badge.textContent = taken.cache ?? "no cache";
    badge.dataset.cache = taken.cache ?? "";
    const facts = () => this.facts({
      "cache-status": response.headers.get("cache-status"),
      age: response.headers.has("age") && `${response.headers.get("age")} s`,
      "first byte": taken.firstByte !== null && milliseconds(taken.firstByte),
      total: taken.total !== null && milliseconds(taken.total),
      pieces: String(taken.pieces),
      tokens: taken.tokens && `${taken.tokens[0]} in, ${taken.tokens[1]} out`,
    });
    let isEnded = false;
    const take = (text) => {
      const parsed = text === "[DONE]" ? DONE : JSON.parse(text);
      isEnded ||= api.ends(parsed);
      if (parsed === DONE) return;
      const error = parsed.error ?? parsed.response?.error;
      if (error) throw new Error(error.message ?? JSON.stringify(error));
      const usage = api.usage(parsed);
      // Anthropic counts in two events.
      if (usage) taken.tokens = usage.map((count, at) => count ?? taken.tokens?.[at] ?? 0);
      answer.textContent = taken.text += api.text(parsed) ?? "";
    };
    let whole = "";
    const type = response.headers.get("content-type") ?? "";
    const reader = !response.ok ? null
      : type.startsWith("text/event-stream") ? new EventStream(take)
      : type.includes("ndjson") ? new Lines(take) : null;
    const decoder = new TextDecoder();
    for await (const chunk of pieces(response.body)) {
      taken.firstByte ??= performance.now() - start;
      taken.pieces += 1;
      const text = decoder.decode(chunk, {stream: true});
      if (reader) reader.feed(text);
      else whole += text;
      facts();
    }
    reader?.feed(decoder.decode());
    reader?.end();
    taken.total = performance.now() - start;
    facts();
    if (!response.ok) throw new Error(`${response.status} ${whole.slice(0, 500)}`);
    if (!reader) take(whole);
    facts();
    if (reader && !isEnded) throw new Error("The stream ended before its answer did.");
  }
}

async function* pieces(body) {
  const reader = body.getReader();
  for (let next; !(next = await reader.read()).done; ) yield next.value;
}

function milliseconds(value) {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

/** The filter's counters and gauges: [name, labels, value], by Envoy's names for them. */
export function metrics({stats}) {
  return stats.filter(({name}) => name?.startsWith("wasmcustom.llm_cache_")).map(({name, value}) => {
    // Models, versions and clusters may have dots. The first two come last, and a cluster before its state.
    const [family, ...rest] = name.slice("wasmcustom.".length).split(".");
    const labels = {};
    while (rest.length) {
      const label = rest.shift();
        const end = {model: rest.length, version: rest.length, cluster: rest.lastIndexOf("state")}[label] ?? 1;
      labels[label] = rest.splice(0, end).join(".");
    }
    return [family, labels, value];
  });
}

function sum(found, family, holds = () => true) {
  return found.filter(([name, labels]) => name === `llm_cache_${family}` && holds(labels))
    .reduce((total, [, , value]) => total + value, 0);
}

async function showCounters() {
  if (document.hidden) return;
  try {
    const response = await fetch("/demo/stats", {cache: "no-store"});
    if (!response.ok) throw new Error(`${response.status}`);
    const found = metrics(await response.json());
    const of = (...results) => sum(found, "requests_total", ({result}) => results.includes(result));
    const [served, missed] = [of("hit", "stale", "collapsed"), of("miss")];
    const main = {
      "from the cache": served,
      misses: missed,
      bypassed: of("bypass"),
      "hit ratio": served + missed ? `${Math.round(100 * served / (served + missed))} %` : "–",
      "tokens saved": sum(found, "saved_tokens_total"),
      "time saved": `${(sum(found, "saved_milliseconds_total") / 1000).toFixed(1)} s`,
    };
    byId("main").replaceChildren(...Object.entries(main).map(([name, value]) => {
      const [box, term, description] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      term.textContent = name;
      description.textContent = value;
      box.append(term, description);
      return box;
    }));
    byId("all").replaceChildren(...found.filter(([, , value]) => value).map(([name, labels, value]) => {
      const row = document.createElement("tr");
      const spelled = Object.entries(labels).map(([label, word]) => `${label}=${word}`).join(" ");
      row.append(...[name, spelled, value.toLocaleString("en")].map((text) => {
        const cell = document.createElement("td");
        cell.textContent = text;
        return cell;
      }));
      return row;
    }));
    byId("stats-fault").textContent = "";
  } catch (error) {
    byId("stats-fault").textContent = `The counters cannot be read: ${error.message ?? error}`;
  }
}

function chosen(name) {
  return document.querySelector(`input[name="${name}"]:checked`).value;
}

async function start() {
  const settings = await (await fetch("/demo/settings.json", {cache: "no-store"})).json();
  byId("upstream").textContent = settings.standin
    ? "The provider is a stand-in that takes its time." : `The provider is ${settings.upstream}.`;
  byId("provider").hidden = settings.standin;
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const [name, api] of Object.entries(APIS)) {
    const [label, input, text] = ["label", "input", "span"].map((tag) => document.createElement(tag));
    Object.assign(input, {type: "radio", name: "api", value: name});
    input.checked = name === (wanted.get("api") ?? "openai_chat");
    text.textContent = api.label;
    label.append(input, text);
    byId("apis").append(label);
  }
  const panes = [new Pane(byId("first"), "First"), new Pane(byId("second"), "Again")];
  const suggest = () => { byId("model").value = APIS[chosen("api")].model; };
  suggest();
  byId("apis").addEventListener("change", suggest);
  let asked = 0;
  const anew = () => {
    const question = QUESTIONS[asked % QUESTIONS.length];
    byId("question").value = asked < QUESTIONS.length ? question : `${question} (${asked})`;
    asked += 1;
  };
  anew();
  byId("another").addEventListener("click", anew);
  byId("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    byId("twice").disabled = true;
    const name = chosen("api");
    const [api, streams] = [APIS[name], chosen("form") === "stream"];
    const model = settings.standin ? api.model : byId("model").value;
    const key = settings.standin ? "demo" : byId("key").value;
    const request = {
      path: api.path(model, streams),
      headers: {
        "content-type": "application/json", ...(key && api.headers(key)),
        ...(settings.standin && {"x-stainless-standin": settings.standin[name][chosen("form")]}),
      },
      body: JSON.stringify(api.body(byId("question").value, model, streams)),
    };
    panes[1].clear();
    const first = await panes[0].ask(api, request);
    const second = first.failed ? first : await panes[1].ask(api, request);
    if (!first.failed && second.cache === "HIT" && first.total !== null) {
      const tokens = second.tokens ? ` and ${second.tokens[0] + second.tokens[1]} tokens` : "";
      panes[1].find(".saved").textContent = first.cache === "HIT" ? "Both came from the cache."
        : `Saved ${milliseconds(Math.max(0, first.total - second.total))}${tokens}.`;
    }
    byId("twice").disabled = false;
    document.body.dataset.asked = `${Number(document.body.dataset.asked ?? 0) + 1}`;
    await showCounters();
  });
  if (wanted.has("form")) document.querySelector(`input[name="form"][value="${wanted.get("form")}"]`).checked = true;
  if (wanted.has("question")) byId("question").value = wanted.get("question");
  // A link may ask by itself: #ask=1&api=gemini&form=json.
  if (wanted.has("ask") && settings.standin) byId("ask").requestSubmit();
  await showCounters();
  setInterval(showCounters, 2000);
}

start();
