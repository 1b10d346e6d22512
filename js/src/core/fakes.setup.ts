import { beforeEach } from "vitest";
import { fakeSockets, newBrowser } from "./fakes";

beforeEach(() => {
  newBrowser();
  fakeSockets();
});
