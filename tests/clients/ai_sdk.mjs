// The AI SDK's own transport and chat (what `useChat` is made of, without React) against a server.
import { AbstractChat, DefaultChatTransport, readUIMessageStream } from "ai";
import { bytewise, config, headers } from "./bytewise.mjs";

class Chat extends AbstractChat {
  constructor(init) {
    const state = {
      status: "ready",
      error: undefined,
      messages: [],
      pushMessage: (message) => state.messages.push(message),
      popMessage: () => state.messages.pop(),
      replaceMessage: (index, message) => (state.messages[index] = message),
      snapshot: structuredClone,
    };
    super({ ...init, state });
  }
}

const api = config.url + (config.api ?? "chat?format=ai-sdk");
const found = { data: [], statuses: [] };

async function chat() {
  const chat = new Chat({
    transport: new DefaultChatTransport({ api, headers, fetch: bytewise, body: { model: config.model } }),
    onData: (part) => found.data.push(part),
    onToolCall: () => (found.asked_to_run_a_tool = true),
    onFinish: ({ finishReason, isAbort, isError }) => Object.assign(found, { finishReason, isAbort, isError }),
  });
  for (const text of config.questions) {
    const sent = chat.sendMessage({ text });
    if (config.stop) {
      while (!chat.messages.at(-1)?.parts.some((part) => part.type === "text" && part.text.includes(config.stop))) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await chat.stop();
    }
    await sent;
    found.statuses.push(chat.status);
  }
  return { ...found, messages: chat.messages, error: chat.error?.message };
}

async function follow() {
  const transport = new DefaultChatTransport({
    headers,
    fetch: bytewise,
    prepareReconnectToStreamRequest: () => ({ api: config.url + config.path }),
  });
  const stream = await transport.reconnectToStream({ chatId: "none" });
  let message;
  const onError = (error) => (found.error = error.message);
  for await (message of readUIMessageStream({ stream, onError })) found.messages = (found.messages ?? 0) + 1;
  return { ...found, message };
}

console.log(JSON.stringify(await { chat, follow }[config.run]()));
