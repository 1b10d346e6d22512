import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { useStream } from "jupyter-sse/react";

/** What there is to show of a video that is being made. */
function useVideoStream(url, options) {
  const { snapshot, status, problem, cancel, retry } = useStream(url, options);
  const [bar] = snapshot.bars;
  return {
    status,
    step: snapshot.steps.at(-1),
    history: snapshot.steps.slice(-6, -1),
    percent: bar?.pct ?? (bar?.total ? (100 * bar.n) / bar.total : null),
    secondsLeft: bar?.eta,
    video: status === "done" ? (snapshot.result?.url ?? snapshot.result) : null,
    problem,
    cancel,
    retry,
  };
}

const WORDS = { connecting: "Connecting", running: "Connected", reconnecting: "Reconnecting", done: "Finished", cancelled: "Stopped", error: "Failed" };

function Video({ url, headers }) {
  const { status, step, history, percent, secondsLeft, video, problem, cancel, retry } = useVideoStream(url, { headers });
  return (
    <section data-status={status}>
      <p id="status" role="status">
        {WORDS[status]}
      </p>
      {status === "running" && <button onClick={cancel}>Stop</button>}
      {step && <h2 dir="auto">{`[${step.of ? `${step.step}/${step.of}` : step.step}] ${step.message}`}</h2>}
      {status === "running" && percent !== null && (
        <p>
          <progress value={percent} max="100" /> {Math.round(percent)} %{secondsLeft > 0 && `, ${Math.round(secondsLeft)} s left`}
        </p>
      )}
      <ol id="history">
        {history.map(({ step, message }) => (
          <li key={step} value={step} dir="auto">
            {message}
          </li>
        ))}
      </ol>
      {video && <video src={video} controls />}
      {problem && (
        <p role="alert" dir="auto">
          {problem.message} <button onClick={retry}>Retry</button>
        </p>
      )}
    </section>
  );
}

const { server, token, stream } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
createRoot(document.getElementById("app")).render(
  <StrictMode>
    <Video url={`${server}jupyter-sse/streams/${stream}/events`} headers={{ Authorization: `token ${token}` }} />
  </StrictMode>,
);
