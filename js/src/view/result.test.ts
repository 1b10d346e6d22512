// @vitest-environment happy-dom
import { expect, test } from "vitest";
import { result, TABLE } from "./result";

const source = (value: unknown): [string | undefined, string | null | undefined] => {
  const element = result(value).querySelector("img, video, audio");
  return [element?.localName, element?.getAttribute("src")];
};

test("pictures, sound and films, here or by reference", () => {
  expect(source({ mime: "image/png", data: "AA==" })).toEqual(["img", "data:image/png;base64,AA=="]);
  expect(source({ mime: "video/mp4", url: "/jupyter-sse/streams/x/media/y.mp4" })).toEqual(["video", "/jupyter-sse/streams/x/media/y.mp4"]);
  expect(source({ mime: "audio/wav", data: "AA==" })).toEqual(["audio", "data:audio/wav;base64,AA=="]);
});

test("a URL is a link, and shows what its end says", () => {
  expect(result("https://example.org/a/b").outerHTML).toContain('href="https://example.org/a/b"');
  expect(source("https://example.org/film.mp4?x=1")).toEqual(["video", "https://example.org/film.mp4?x=1"]);
  expect(result("https://example.org/film.mp4").querySelector("a")?.textContent).toBe("https://example.org/film.mp4");
  expect(source("https://example.org/a.png")[0]).toBe("img");
  expect(source("https://example.org/page?file=a.png")).toEqual([undefined, undefined]);
  expect(result("https://example.org/a took 5 s to answer").outerHTML).not.toContain("href");
});

test("a table, with how much of it there is", () => {
  const table = result({ mime: TABLE, columns: ["name", "<b>"], rows: [["x", 0.123456789], [null, 5]], shape: [1000, 2] });
  expect([...table.querySelectorAll("th, td")].map((cell) => cell.textContent)).toEqual(["name", "<b>", "x", "0.123457", "", "5"]);
  expect(table.textContent).toContain("The first 2 of 1,000 rows, of 2 columns");
  const large = result({ mime: TABLE, columns: Array(500).fill("c"), rows: Array(5000).fill(Array(500).fill(1)) });
  expect(large.querySelectorAll("td").length).toBeLessThanOrEqual(10_000);
});

test("Markdown, without its HTML", () => {
  const element = result({ mime: "text/markdown", text: "**bold** <img src=x onerror=alert(1)>" });
  expect([element.querySelector("strong")?.textContent, element.querySelector("img")]).toEqual(["bold", null]);
});

test("anything else is told as it is", () => {
  expect(result(0.5).textContent).toBe("0.5");
  expect(result({ loss: 1 }).textContent).toContain('"loss": 1');
  for (const value of [
    { mime: "text/html", data: "<script>" },
    { mime: "image/png" },
    { mime: "image/png\" onerror=\"x", data: "AA" },
    { mime: TABLE, columns: 5, rows: [] },
    { mime: TABLE, columns: ["a"], rows: ["b"] },
    { mime: "image/png", url: "javascript:alert(1)" },
  ]) {
    const element = result(value);
    expect([element.localName, element.querySelector("script, img, a")]).toEqual(["pre", null]);
  }
});

test("of a film that cannot be loaded the link is left", () => {
  const element = result("https://example.org/film.mp4");
  element.querySelector("video")?.dispatchEvent(new Event("error"));
  expect([element.querySelector("video"), element.textContent]).toEqual([null, "https://example.org/film.mp4"]);
});
