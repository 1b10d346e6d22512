// What the real clients make of streams that no server sends: the text they end with, and what they complain of.
import { readFile } from "node:fs/promises";
import { HttpAgent } from "@ag-ui/client";
import { DefaultChatTransport, readUIMessageStream } from "ai";
import OpenAI from "openai";

const { file } = JSON.parse(process.env.CLIENT_CONFIG);
const complaints = [];
console.warn = console.error = (...said) => complaints.push(said.join(" "));

const answering = (body) => async () => new Response(body, { headers: { "content-type": "text/event-stream" } });

async function aiSdk(body) {
  const transport = new DefaultChatTransport({ fetch: answering(body) });
  const stream = await transport.sendMessages({ messages: [] });
  let message = { parts: [] };
  const onError = (error) => complaints.push(error.message);
  for await (message of readUIMessageStream({ stream, onError }));
  return message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
}

async function agUi(body) {
  const agent = new HttpAgent({ url: "http://none", fetch: answering(body) });
  agent.subscribe({ onRunErrorEvent: ({ event }) => void complaints.push(event.message) });
  await agent.runAgent();
  return agent.messages.map((message) => (message.role === "assistant" ? (message.content ?? "") : "")).join("");
}

async function openai(body) {
  const client = new OpenAI({ baseURL: "http://none", apiKey: "none", fetch: answering(body), maxRetries: 0 });
  const stream = client.chat.completions.stream({ model: "none", messages: [] });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
  await stream.finalChatCompletion();
  return text;
}

const clients = { "ai-sdk": aiSdk, "ag-ui": agUi, openai };
const found = [];
for (const { format, body } of JSON.parse(await readFile(file, "utf-8"))) {
  complaints.length = 0;
  let text = null;
  try {
    text = await clients[format](body);
  } catch (error) {
    complaints.push(error.message);
  }
  found.push({ text, complaints: [...complaints] });
}
console.log(JSON.stringify(found));
