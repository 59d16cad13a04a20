/** The sites that the documentation shows are valid, and nothing in them is doubtful. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { parseConfig } from "../../../src/config/parse.ts";

test.each(["origins"])("the examples of docs/operating/%s.md", async (page) => {
  const text = await Bun.file(join(import.meta.dir, `../../../docs/operating/${page}.md`)).text();
  const blocks = [...text.matchAll(/^```json\n(.*?)^```$/gms)].map((match) => match[1] as string);
  expect(blocks.length).toBeGreaterThan(3);
  for (const block of blocks) {
    const result = parseConfig({ sites: { shop: JSON.parse(block) as unknown } });
    expect([block, result]).toMatchObject([block, { ok: true, warnings: [] }]);
  }
});
