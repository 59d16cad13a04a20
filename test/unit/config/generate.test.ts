import { expect, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type * as z from "zod";
import { generatedFiles } from "../../../scripts/generate.ts";
import type { configSchema } from "../../../src/config/schema.ts";
import type { ConfigInput } from "../../../src/config/types.ts";

const ROOT = resolve(import.meta.dirname, "../../..");

for (const [path, text] of generatedFiles()) {
  test(`${path} is what the schema makes it`, async () => {
    expect(await readFile(resolve(ROOT, path), "utf8")).toBe(text);
  });
}

test("the input types take exactly what the schema takes", () => {
  // Checked by the compiler: each is assignable to the other.
  const schemaToTypes = (config: z.input<typeof configSchema>): ConfigInput => config;
  const typesToSchema = (config: ConfigInput): z.input<typeof configSchema> => config;
  const config: ConfigInput = { sites: {} };
  expect(schemaToTypes(typesToSchema(config))).toBe(config);
});

test("every property of the input types is explained", () => {
  const types = generatedFiles().get("src/config/types.ts") ?? "";
  const properties = [...types.matchAll(/^ {2}[\w$]+\??: /gm)].length;
  const explained = [...types.matchAll(/^ {2}\/\*\*\n {3}\* \S[\s\S]*?\n {3}\*\/\n {2}[\w$]+\??: /gm)].length;
  expect(properties).toBeGreaterThan(90);
  expect(explained).toBe(properties);
});

test("the JSON Schema names every top setting and refuses others", () => {
  const schema = JSON.parse(generatedFiles().get("docs/reference/proxima.schema.json") ?? "");
  expect(Object.keys(schema.properties)).toContain("sites");
  expect(schema.additionalProperties).toBe(false);
  expect(schema.required).toEqual(["sites"]);
});
