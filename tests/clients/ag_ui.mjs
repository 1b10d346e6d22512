// AG-UI's own HttpAgent against a server.
import { EventType, HttpAgent } from "@ag-ui/client";
import { bytewise, config, headers } from "./bytewise.mjs";

const warnings = [];
console.warn = (...said) => warnings.push(said.join(" "));
console.error = () => {};

class Follower extends HttpAgent {
  requestInit() {
    return { method: "GET", headers: this.headers, signal: this.abortController.signal };
  }
}

async function run() {
  const agent = new (config.path ? Follower : HttpAgent)({
    url: config.url + (config.path ?? config.api ?? `chat?format=ag-ui&model=${config.model}`),
    headers,
    fetch: bytewise,
    threadId: "thread-1",
  });
  const found = { events: [], results: [] };
  agent.subscribe({
    onEvent: ({ event }) => void found.events.push(event),
    onTextMessageContentEvent: ({ textMessageBuffer, event }) => {
      if (config.stop && (textMessageBuffer + event.delta).includes(config.stop)) agent.abortRun();
    },
  });
  for (const [index, content] of (config.questions ?? [undefined]).entries()) {
    if (content !== undefined) agent.addMessage({ id: `question-${index}`, role: "user", content });
    try {
      found.results.push((await agent.runAgent({ runId: `run-${index}`, ...config.input })).result ?? null);
    } catch (error) {
      found.error = { message: error.message, status: error.status, payload: error.payload };
    }
  }
  return { ...found, messages: agent.messages, warnings, known: Object.values(EventType) };
}

console.log(JSON.stringify(await run()));
