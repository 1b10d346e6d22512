// OpenAI's own client against a server.
import OpenAI from "openai";
import { bytewise, config } from "./bytewise.mjs";

const client = new OpenAI({ baseURL: `${config.url}openai`, apiKey: config.token, fetch: bytewise, maxRetries: 0 });
const { model, messages, options } = config;

async function stream() {
  const chunks = [];
  const found = { chunks };
  try {
    const stream = await client.chat.completions.create({ model, messages, stream: true, ...options });
    for await (const chunk of stream) {
      chunks.push(chunk);
      const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
      if (config.stop && text.includes(config.stop)) stream.controller.abort();
    }
  } catch (error) {
    const { status, code, type } = error;
    found.error = { name: error.constructor.name, status, code, type, message: error.message };
  }
  return found;
}

async function helper() {
  const stream = client.chat.completions.stream({ model, messages, ...options });
  return { final: await stream.finalChatCompletion() };
}

async function whole() {
  try {
    return { whole: await client.chat.completions.create({ model, messages, ...options }) };
  } catch (error) {
    const { status, code, message } = error;
    return { error: { name: error.constructor.name, status, code, message } };
  }
}

async function models() {
  const found = [];
  for await (const model of await client.models.list()) found.push(model.id);
  return found;
}

console.log(JSON.stringify(await { stream, helper, whole, models }[config.run]()));
