// A `fetch` whose answers come a byte at a time, as the worst of networks would bring them.
export async function bytewise(url, init) {
  const answer = await fetch(url, init);
  if (answer.body === null) return answer;
  const bytes = new TransformStream({
    transform(chunk, out) {
      for (const byte of chunk) out.enqueue(Uint8Array.of(byte));
    },
  });
  const { status, statusText, headers } = answer;
  return new Response(answer.body.pipeThrough(bytes), { status, statusText, headers });
}

export const config = JSON.parse(process.env.CLIENT_CONFIG);
export const headers = { Authorization: `Bearer ${config.token}` };
