import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { useStream } from "jupyter-sse/react";

const { server, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const headers = { Authorization: `token ${token}` };

function Answer({ question }) {
  const url = `${server}jupyter-sse/chat?${new URLSearchParams({ q: question })}`;
  const { text, status, problem, cancel, retry } = useStream(url, { headers });
  return (
    <>
      <p id="answer" dir="auto" style={{ whiteSpace: "pre-wrap" }}>
        {text}
      </p>
      <p id="status" role="status" dir="auto">
        {problem ? `Error: ${problem.message}` : status} {problem && <button onClick={retry}>Retry</button>}
      </p>
      <button onClick={cancel} disabled={status !== "running"}>
        Stop
      </button>
    </>
  );
}

function App() {
  const [asked, setAsked] = useState(null);
  const ask = (event) => {
    event.preventDefault();
    setAsked({ question: event.target.question.value, id: Date.now() }); // the same question may be asked again
  };
  return (
    <>
      <form onSubmit={ask}>
        <input name="question" defaultValue="Why is the sky blue?" dir="auto" aria-label="Question" />
        <button>Ask</button>
      </form>
      {asked && <Answer key={asked.id} question={asked.question} />}
    </>
  );
}

createRoot(document.getElementById("app")).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
