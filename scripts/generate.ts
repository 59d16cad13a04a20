/**
 * Makes from the config schema: the JSON Schema, the reference page, and the input types. With
 * `--check` it writes nothing and fails when a file is not what the schema makes it.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import * as z from "zod";
import { configSchema } from "../src/config/schema.ts";
import { allowedText, atLeastOne, requiredNames, unwrap } from "../src/config/shape.ts";
import { typeNames } from "../src/config/values.ts";
import { clientTypes } from "./client-types.ts";

const ROOT = resolve(import.meta.dirname, "..");
const LINE_LENGTH_MAX = 110;

/** Every generated file: its path from the root, and its text. */
export function generatedFiles(): ReadonlyMap<string, string> {
  return new Map([
    ["docs/reference/proxima.schema.json", jsonSchemaText()],
    ["docs/reference/config.md", referenceText()],
    ["src/config/types.ts", typesText()],
    ["src/client/api.d.ts", clientTypes()],
  ]);
}

// ---- the JSON Schema ----

function jsonSchemaText(): string {
  const schema = z.toJSONSchema(configSchema, {
    io: "input",
    override({ zodSchema, jsonSchema }) {
      const allowed = zodSchema instanceof z.ZodString ? allowedText(zodSchema) : "a value";
      // Shown by editors; what a pattern cannot say is said in words.
      if (allowed !== "a value") jsonSchema.$comment = `Allowed: ${allowed}.`;
      // A group's default is that of its settings.
      if (typeof jsonSchema.default === "object" && !Array.isArray(jsonSchema.default))
        delete jsonSchema.default;
    },
  });
  return `${layOut({ title: "Proxima configuration", ...schema }, "")}\n`;
}

/** JSON as the formatter of this repository lays it out: short lists of plain values on one line. */
function layOut(value: unknown, indent: string, before = 0): string {
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    const flat = `[${value.map((item) => JSON.stringify(item)).join(", ")}]`;
    const isPlain = value.every((item) => typeof item !== "object");
    if (value.length === 0 || (isPlain && before + flat.length < LINE_LENGTH_MAX)) return flat;
    return `[\n${value.map((item) => inner + layOut(item, inner)).join(",\n")}\n${indent}]`;
  }
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value);
    if (entries.length === 0) return "{}";
    const lines = entries.map(([name, item]) => {
      const head = `${inner}${JSON.stringify(name)}: `;
      return head + layOut(item, inner, head.length);
    });
    return `{\n${lines.join(",\n")}\n${indent}}`;
  }
  return JSON.stringify(value);
}

// ---- the input types ----

function typesText(): string {
  const interfaces = new Map<string, string>();
  collectInterfaces(configSchema, interfaces);
  return `/**
 * The config as a person writes it. Made from schema.ts by \`npm run generate\`: change it there.
 */
${[...interfaces.values()].join("")}`;
}

function collectInterfaces(wrapped: z.core.$ZodType, interfaces: Map<string, string>): void {
  const { schema } = unwrap(wrapped);
  if (schema instanceof z.ZodObject) {
    const name = typeNames.get(schema)?.name;
    if (name !== undefined && !interfaces.has(name)) {
      interfaces.set(name, "");
      interfaces.set(name, interfaceText(name, schema));
    }
    for (const below of Object.values(schema.shape)) collectInterfaces(below, interfaces);
  } else if (schema instanceof z.ZodArray) collectInterfaces(schema.element, interfaces);
  else if (schema instanceof z.ZodRecord) collectInterfaces(schema.valueType, interfaces);
  else if (schema instanceof z.ZodUnion) {
    for (const option of schema.options) collectInterfaces(option, interfaces);
    const name = typeNames.get(schema)?.name;
    if (name !== undefined) interfaces.set(name, unionText(name, schema));
  }
}

/** A union with a name, laid out as the formatter does it. */
function unionText(name: string, schema: z.ZodUnion): string {
  const members = schema.options.map((option) => typeText(option));
  const line = `export type ${name} = ${members.join(" | ")};`;
  const lines =
    line.length <= LINE_LENGTH_MAX ? line : `export type ${name} =\n  | ${members.join("\n  | ")};`;
  return `\n/** Settings: ${titleOf(name)}. */\n${lines}\n`;
}

/** A type's name as words. */
function titleOf(name: string): string {
  return name
    .replace(/Input$/, "")
    .replace(/(?<=[a-z])(?=[A-Z])/g, " ")
    .toLowerCase();
}

function interfaceText(name: string, schema: z.ZodObject): string {
  const lines = [`\n/** Settings: ${titleOf(name)}. */`, `export interface ${name} {`];
  for (const [property, wrapped] of Object.entries(schema.shape)) {
    const { optional, description = "" } = unwrap(wrapped);
    lines.push("  /**");
    for (const line of wrapText(escapeComment(description), LINE_LENGTH_MAX - 6)) lines.push(`   * ${line}`);
    const allowed = notedAllowed(wrapped);
    if (allowed !== null) {
      for (const line of wrapText(escapeComment(`Allowed: ${allowed}.`), LINE_LENGTH_MAX - 6))
        lines.push(`   * ${line}`);
    }
    const shown = defaultText(wrapped);
    if (shown !== null) lines.push(`   * @default ${escapeComment(shown)}`);
    lines.push("   */");
    lines.push(`  ${property}${optional ? "?" : ""}: ${typeText(wrapped)}${optional ? " | undefined" : ""};`);
  }
  return `${lines.join("\n")}\n}\n`;
}

/** What is allowed, where the type does not say it already. */
function notedAllowed(wrapped: z.core.$ZodType): string | null {
  const { schema } = unwrap(wrapped);
  if (schema instanceof z.ZodArray) return notedAllowed(schema.element) === null ? null : allowedText(schema);
  if (schema instanceof z.ZodString || schema instanceof z.ZodNumber || schema instanceof z.ZodPipe) {
    return allowedText(schema);
  }
  return null;
}

function typeText(wrapped: z.core.$ZodType): string {
  const { schema } = unwrap(wrapped);
  if (schema instanceof z.ZodString) return "string";
  if (schema instanceof z.ZodNumber) return "number";
  if (schema instanceof z.ZodBoolean) return "boolean";
  if (schema instanceof z.ZodPipe) return typeText(schema.def.in);
  if (schema instanceof z.ZodEnum) return schema.options.map((option) => JSON.stringify(option)).join(" | ");
  if (schema instanceof z.ZodLiteral)
    return [...schema.values].map((value) => JSON.stringify(value)).join(" | ");
  if (schema instanceof z.ZodUnion) {
    return typeNames.get(schema)?.name ?? schema.options.map((option) => typeText(option)).join(" | ");
  }
  if (schema instanceof z.ZodRecord) return `Record<string, ${typeText(schema.valueType)}>`;
  if (schema instanceof z.ZodUnknown) return "unknown";
  if (schema instanceof z.ZodArray) {
    const item = typeText(schema.element);
    return item.includes(" | ") ? `(${item})[]` : `${item}[]`;
  }
  if (schema instanceof z.ZodObject) {
    const name = typeNames.get(schema)?.name;
    if (name !== undefined) return name;
    const members = Object.entries(schema.shape).map(([key, below]) => `${key}: ${typeText(below)}`);
    return `{ ${members.join("; ")} }`;
  }
  throw new Error(`no TypeScript form for a ${schema.def.type}`);
}

// ---- the reference page ----

/** Titles of the kinds of origin, by the setting that tells them apart. */
const ORIGIN_TITLES: Readonly<Record<string, string>> = {
  url: "An origin server",
  directory: "A folder as origin",
  s3: "A bucket of S3, or of a store like it, as origin",
  gcs: "A bucket of Google Cloud Storage as origin",
  azure: "A container of Azure Blob Storage as origin",
};

interface Section {
  readonly title: string;
  readonly note: string;
  readonly rows: string[];
}

function referenceText(): string {
  const sections: Section[] = [{ title: "The node", note: "What belongs to one machine.", rows: [] }];
  addRows(configSchema, "", sections[0] as Section, sections);
  const tables = sections.map(
    (section) => `## ${section.title}

${section.note}

| Setting | Type | Default | Allowed | Meaning |
|---|---|---|---|---|
${section.rows.join("\n")}
`,
  );
  return `<!-- Made from src/config/schema.ts by \`npm run generate\`: change it there. -->
# Configuration

A config is one file: \`proxima.config.ts\` (or .mts, .js, .mjs) with \`export default defineConfig({ ... })\`, or the same shape as .json, .yaml or .yml. \`proxima config check FILE\` says what is wrong with it and where. A running edge watches the file: a valid change is put in force, an invalid one leaves the last good config in force and is told.

\`\`\`ts
import { defineConfig } from "proxima-cdn";

export default defineConfig({
  listen: { http: ":80", https: ":443" },
  sites: {
    shop: {
      hosts: ["shop.example"],
      origins: { app: { url: "https://app.shop.example" } },
    },
  },
});
\`\`\`

- Every setting that is not named takes its default; a setting that does not exist is an error.
- Relative paths start at the config file's folder.
- A size is a number of bytes or a text with a unit: B, KB, MB, GB, TB (thousands), KiB, MiB, GiB, TiB (1024s).
- A TypeScript config is evaluated in a process of its own, within 10 seconds, with the environment of the program; it must export plain data. The files it imports are watched as well.
- A config file may be 64 MiB long, as YAML 1 MiB. For thousands of sites write JSON.
- For editors: [proxima.schema.json](proxima.schema.json), named by \`"$schema"\` in JSON or by a \`# yaml-language-server: $schema=...\` line in YAML.

${tables.join("\n")}`;
}

function addRows(wrapped: z.core.$ZodType, path: string, section: Section, sections: Section[]): void {
  const { schema } = unwrap(wrapped);
  if (!(schema instanceof z.ZodObject)) return;
  for (const [name, below] of Object.entries(schema.shape)) {
    const { schema: inner } = unwrap(below);
    const full = path === "" ? name : `${path}.${name}`;
    if (!(inner instanceof z.ZodObject)) section.rows.push(row(full, below));
    addBelow(inner, full, section, sections);
  }
}

function addBelow(schema: z.ZodType, path: string, section: Section, sections: Section[]): void {
  const open = (title: string, note: string): Section => {
    const opened = { title, note, rows: [] };
    sections.push(opened);
    return opened;
  };
  if (schema instanceof z.ZodObject) addRows(schema, path, section, sections);
  else if (schema instanceof z.ZodRecord) {
    const value = unwrap(schema.valueType).schema;
    const below = `${path}.<name>`;
    switch (path) {
      case "sites":
        addRows(value, "sites.<id>", open("A site", "Each entry of `sites`."), sections);
        return;
      case "sites.<id>.originGroups":
        addRows(value, below, open("A group of origins", "Each entry of `originGroups`."), sections);
        return;
      case "sites.<id>.origins":
        if (!(value instanceof z.ZodUnion)) return;
        for (const form of value.options) {
          const inner = unwrap(form).schema;
          const mark = inner instanceof z.ZodObject ? (requiredNames(inner)[0] ?? "") : "";
          const title = ORIGIN_TITLES[mark] ?? `An origin with ${mark}`;
          addRows(inner, below, open(title, `An entry of \`origins\` that has \`${mark}\`.`), sections);
        }
        return;
      case "alerts.channels":
        if (!(value instanceof z.ZodUnion)) return;
        for (const form of value.options) {
          const inner = unwrap(form).schema;
          const head = inner instanceof z.ZodObject ? (Object.keys(inner.shape)[0] ?? "") : "";
          const note = `An entry of \`alerts.channels\` that has \`${head}\`.`;
          addRows(inner, below, open(`Alerts by ${head}`, note), sections);
        }
        return;
      default:
        addBelow(value, below, section, sections);
    }
  } else if (schema instanceof z.ZodArray) {
    const item = unwrap(schema.element).schema;
    const below = `${path}[]`;
    if (path === "sites.<id>.behaviors")
      addRows(item, below, open("A behavior", "Each item of `behaviors`."), sections);
    else if (path === "sites.<id>.redirects")
      addRows(item, below, open("A redirect", "Each item of `redirects`."), sections);
    else addBelow(item, below, section, sections);
  }
}

function row(path: string, wrapped: z.core.$ZodType): string {
  const { optional, description = "" } = unwrap(wrapped);
  const shown = defaultText(wrapped);
  const cells = [
    `\`${path}\``,
    code(plainType(wrapped)),
    shown === null ? (optional ? "none" : "**required**") : code(shown),
    tableText(allowedText(wrapped)),
    tableText(description),
  ];
  return `| ${cells.join(" | ")} |`;
}

/** The type in one word or two: details stand in the column of what is allowed. */
function plainType(wrapped: z.core.$ZodType): string {
  const { schema } = unwrap(wrapped);
  if (schema instanceof z.ZodEnum) return "string";
  if (schema instanceof z.ZodLiteral)
    return [...new Set([...schema.values].map((value) => typeof value))].join(" or ");
  if (schema instanceof z.ZodUnion)
    return [...new Set(schema.options.map((option) => plainType(option)))].join(" or ");
  if (schema instanceof z.ZodPipe) return plainType(schema.def.in);
  if (schema instanceof z.ZodObject) return "object";
  if (schema instanceof z.ZodRecord) return `object of ${plainType(schema.valueType)}`;
  if (schema instanceof z.ZodArray)
    return `${atLeastOne(schema) ? "non-empty " : ""}list of ${plainType(schema.element)}`;
  return typeText(schema);
}

/** A default as written in a config; null when there is none or it is that of a group's settings. */
function defaultText(wrapped: z.core.$ZodType): string | null {
  const { fallback, schema } = unwrap(wrapped);
  if (fallback === undefined || schema instanceof z.ZodObject) return null;
  return JSON.stringify(fallback);
}

function code(text: string): string {
  return `\`${text.replaceAll("|", "\\|")}\``;
}

function tableText(text: string): string {
  return text.replace(/[|*_<>]/g, (character) => `\\${character}`);
}

function escapeComment(text: string): string {
  return text.replaceAll("*/", "*\\/");
}

function wrapText(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return line === "" ? lines : [...lines, line];
}

// ---- the command ----

async function main(check: boolean): Promise<number> {
  const stale: string[] = [];
  for (const [path, text] of generatedFiles()) {
    const file = resolve(ROOT, path);
    const now = await readFile(file, "utf8").catch(() => null);
    if (now === text) continue;
    stale.push(path);
    if (check) continue;
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }
  if (stale.length === 0) return 0;
  console.log(
    `${check ? "not as the schema makes them (run npm run generate)" : "written"}: ${stale.join(", ")}`,
  );
  return check ? 1 : 0;
}

if (import.meta.main) process.exitCode = await main(process.argv.includes("--check"));
