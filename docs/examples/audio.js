import { AudioPlayer, AudioStreamConsumer } from "jupyter-sse";

const { server, token, stream } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const [button, status] = document.querySelectorAll("button, #status");
const WORDS = { waiting: "Waiting for sound", playing: "Playing", paused: "Paused" };

let problem = null;
const player = new AudioPlayer(show);
const consumer = new AudioStreamConsumer(`${server}jupyter-sse/streams/${stream}/events`, {
  headers: { Authorization: `token ${token}` },
  onChunk: ({ n, mime, data }) => player.append(mime, data, n),
  onComplete: () => player.end(),
  onError: ({ message }) => {
    problem = message;
    player.end(); // what has come is heard
  },
});

button.onclick = () => {
  if (isOn()) {
    player.pause();
  } else {
    player.play(); // a browser lets a page sound once it has been clicked
    void consumer.connect(); // nothing, if it is connected
  }
};

function isOn() {
  return player.state === "playing" || player.state === "waiting";
}

function show() {
  button.textContent = isOn() ? "Pause" : "Play";
  status.textContent = WORDS[player.state] ?? player.problem ?? problem ?? `That was all of it: ${player.time.toFixed(1)} s`;
  if (player.state !== "ended" && player.state !== "failed") return;
  button.disabled = true;
  consumer.close();
  player.close(); // it holds one of the browser's few outlets for sound
}
