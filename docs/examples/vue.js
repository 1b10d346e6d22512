import { computed, createApp, ref } from "vue";
import { useStream } from "jupyter-sse/vue";

const { server, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const headers = { Authorization: `token ${token}` };

createApp({
  setup() {
    const question = ref("Why is the sky blue?");
    const url = ref(null);
    const stream = useStream(url, { headers });
    const ask = () => {
      const next = `${server}jupyter-sse/chat?${new URLSearchParams({ q: question.value })}`;
      if (url.value === next) stream.retry(); // the same question once more
      else url.value = next;
    };
    return { question, ask, isRunning: computed(() => stream.status.value === "running"), ...stream };
  },
}).mount("#app");
