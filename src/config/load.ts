/**
 * Reads a config file: TypeScript or JavaScript (evaluated in a process of its own), JSON or YAML.
 * A loader remembers what it read, so that reading again costs little where little changed.
 */
import { type FileHandle, open } from "node:fs/promises";
import { dirname, extname, resolve } from "node:path";
import { messageOf } from "../base/errors.ts";
import type { ConfigReader, LoadResult } from "./config-reader.ts";
import { evaluateConfig } from "./evaluate.ts";
import { scanJson } from "./json-text.ts";
import { listedFindings, loadResult, type Parsed, parseSteps, type SiteMemory } from "./parse.ts";
import { fileProblem, type Locate, type Position } from "./problems.ts";
import { formatSize } from "./size.ts";
import { FILE_BYTES_MAX, OPEN_FLAGS, Sources } from "./sources.ts";

/** YAML is read in one go, 1 MiB in about a second; larger configs belong into JSON. */
export const YAML_BYTES_MAX = 2 ** 20;
/** Longest time in milliseconds that parsing may hold the event loop in one go. */
const SLICE_MS_MAX = 1;

const EXTENSIONS = ".ts, .mts, .js, .mjs, .json, .yaml or .yml";

/** Reads, checks and completes the config in `file`; relative paths in it start at its folder. Never rejects. */
export function loadConfig(
  file: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<LoadResult> {
  return new ConfigLoader(file, env).load();
}

/** Reads one config file again and again; sites that did not change stay the same objects. */
export class ConfigLoader implements ConfigReader {
  /** Absolute path of the config. */
  readonly file: string;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #memory: SiteMemory = new Map();
  readonly #read: Sources;
  #value: unknown = undefined;
  readonly #forFleet: boolean;
  #sources: readonly string[];

  /** `forFleet`: the sites are for the nodes of a fleet, and not held against this file's own part. */
  constructor(
    file: string,
    env: Readonly<Record<string, string | undefined>> = process.env,
    forFleet = false,
  ) {
    this.file = resolve(file);
    this.#env = env;
    this.#forFleet = forFleet;
    this.#sources = [this.file];
    this.#read = new Sources(this.file);
  }

  get sources(): readonly string[] {
    return this.#read.files;
  }

  get missed(): boolean {
    return this.#read.missed;
  }

  /** The config as it was last read, before defaults were filled in: what its author wrote. */
  get value(): unknown {
    return this.#value;
  }

  load(): Promise<LoadResult> {
    return this.#read.read(async () => {
      let result: LoadResult;
      try {
        result = await this.#load();
      } catch (error) {
        result = refuse(`cannot be read: ${messageOf(error)}`);
      }
      return { result, files: this.#sources };
    });
  }

  changed(): Promise<boolean> {
    return this.#read.changed();
  }

  takeAsRead(): void {
    this.#read.takeAsRead();
  }

  async #load(): Promise<LoadResult> {
    const extension = extname(this.file).toLowerCase();
    switch (extension) {
      case ".ts":
      case ".mts":
      case ".js":
      case ".mjs":
        return this.#loadScript();
      case ".json":
        return this.#loadJson();
      case ".yaml":
      case ".yml":
        return this.#loadYaml();
      default:
        return refuse(
          `a config file ends in ${EXTENSIONS}; this one ${extension === "" ? "has no extension" : `ends in ${extension}`}`,
        );
    }
  }

  async #loadScript(): Promise<LoadResult> {
    const file = await readText(this.file, FILE_BYTES_MAX);
    if (!file.ok) return refuse(file.message);
    const evaluated = await evaluateConfig(this.file, this.#env);
    // A config that failed half-way has not said all it imports: keep what was known.
    this.#sources = [...new Set([this.file, ...evaluated.sources, ...(evaluated.ok ? [] : this.#sources)])];
    if (!evaluated.ok) return { ok: false, problems: evaluated.problems };
    return loadResult(await this.#parse(evaluated.value));
  }

  async #loadJson(): Promise<LoadResult> {
    const file = await readText(this.file, FILE_BYTES_MAX);
    if (!file.ok) return refuse(file.message);
    const { fault } = await runSlowly(scanJson(file.text));
    if (fault !== null) return refuse(fault.message, fault.position);
    const parsed = await this.#parse(JSON.parse(file.text));
    if (parsed.findings.length === 0) return loadResult(parsed);
    const paths = listedFindings(parsed.findings).map((finding) => finding.path);
    const { locate } = await runSlowly(scanJson(file.text, paths));
    return loadResult(parsed, locate);
  }

  async #loadYaml(): Promise<LoadResult> {
    const file = await readText(this.file, YAML_BYTES_MAX);
    if (!file.ok) return refuse(file.message);
    // Its parser is loaded where a config is written in it.
    const { readYaml } = await import("./yaml-text.ts");
    const yaml = readYaml(file.text);
    if (!yaml.ok) return { ok: false, problems: yaml.problems };
    const locate: Locate = yaml.locate;
    return loadResult(await this.#parse(yaml.value), locate);
  }

  #parse(value: unknown): Promise<Parsed> {
    this.#value = value;
    const [folder, memory, forFleet] = [dirname(this.file), this.#memory, this.#forFleet];
    return runSlowly(parseSteps(value, { folder, memory, forFleet }));
  }
}

function refuse(message: string, place: Position | null = null): LoadResult {
  return { ok: false, problems: [fileProblem(message, place)] };
}

/** Runs steps to their end, letting other work in between. */
async function runSlowly<T>(steps: Generator<void, T>): Promise<T> {
  let sliceStart = performance.now();
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (performance.now() - sliceStart < SLICE_MS_MAX) continue;
    await new Promise<void>((resume) => setImmediate(resume));
    sliceStart = performance.now();
  }
}

async function readText(
  file: string,
  bytesMax: number,
): Promise<{ ok: true; text: string } | { ok: false; message: string }> {
  let handle: FileHandle | null = null;
  try {
    handle = await open(file, OPEN_FLAGS);
    const stat = await handle.stat();
    if (!stat.isFile()) return { ok: false, message: "is not a file" };
    if (stat.size > bytesMax) {
      return {
        ok: false,
        message: `is ${formatSize(stat.size)} long; at most ${formatSize(bytesMax)} are allowed`,
      };
    }
    const bytes = await handle.readFile();
    return { ok: true, text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch (error) {
    return { ok: false, message: readFault(error) };
  } finally {
    await handle?.close();
  }
}

function readFault(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  switch (code) {
    case "ENOENT":
      return "there is no such file";
    case "EACCES":
    case "EPERM":
      return "may not be read by this user";
    case "EISDIR":
      return "is not a file";
    default:
      return error instanceof TypeError ? "is not a text in UTF-8" : `cannot be read: ${messageOf(error)}`;
  }
}
