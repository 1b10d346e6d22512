import { mount, URLSource } from "jupyter-sse";

const { server, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const headers = { Authorization: `token ${token}` };
const [form, view] = [document.forms[0], document.querySelector("#view")];
let dispose;

form.onsubmit = (event) => {
  event.preventDefault();
  dispose?.();
  const query = new URLSearchParams({ q: form.question.value });
  dispose = mount(view, { source: new URLSource(`${server}jupyter-sse/chat?${query}`, { headers }) });
};
