import { AdaptiveTypewriter, SSEConsumer } from "jupyter-sse";

const { server, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const headers = { Authorization: `token ${token}` };
const [form, answer, status] = [document.forms[0], ...document.querySelectorAll("#answer, #status")];
let consumer;
let typewriter;
let stream;

form.onsubmit = (event) => {
  event.preventDefault();
  consumer?.close(); // its answer is not wanted here any more
  typewriter?.dispose();
  answer.textContent = "";
  typewriter = new AdaptiveTypewriter(answer);
  show("Connecting", false);
  const query = new URLSearchParams({ q: form.question.value });
  consumer = new SSEConsumer(`${server}jupyter-sse/chat?${query}`, {
    headers,
    maxReconnects: 5,
    onHello: (hello) => {
      stream = hello.stream;
      show("Answering", true);
    },
    onDelta: ({ text }) => typewriter.append(text),
    onComplete: ({ reason }) => end(`Done: ${reason}`),
    onError: ({ message }) => end(`Error: ${message}`),
  });
  void consumer.connect();
};

form.stop.onclick = () => fetch(`${server}jupyter-sse/streams/${stream}/cancel`, { method: "POST", headers });

function end(text) {
  typewriter.flush();
  show(text, false);
}

function show(text, isRunning) {
  status.textContent = text;
  form.stop.disabled = !isRunning;
}
