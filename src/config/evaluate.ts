/**
 * Evaluates a config written in TypeScript or JavaScript. It runs in a process of its own, of the
 * same runtime: an endless loop, an exit or a leak there is none of ours, and every evaluation sees
 * the files as they are now. What comes back is JSON.
 */
import { dirname } from "node:path";
import { fileProblem, type Problem } from "./problems.ts";

/** What an evaluation gave. */
export type Evaluated =
  | { readonly ok: true; readonly value: unknown; readonly sources: readonly string[] }
  | { readonly ok: false; readonly problems: readonly Problem[]; readonly sources: readonly string[] };

/** A config must be evaluated in this time. */
const EVALUATION_MS_MAX = 10_000;
/** Problems of one evaluation that are told. */
const FAULTS_MAX = 10;

interface Fault {
  message: string;
  file: string | null;
  line: number | null;
  column: number | null;
}

/** What the child process sends: the config as JSON, or faults; and the files it read. */
type Reply = { json: string; sources: string[] } | { faults: Fault[]; sources: string[] };

/** Evaluates `file` (an absolute path) and gives its default export. Never rejects. */
export async function evaluateConfig(
  file: string,
  env: Readonly<Record<string, string | undefined>>,
  timeoutMs = EVALUATION_MS_MAX,
): Promise<Evaluated> {
  const refused = (message: string): Evaluated => ({
    ok: false,
    problems: [fileProblem(message)],
    sources: [],
  });
  const { promise: reply, resolve } = Promise.withResolvers<Reply | "ended" | "late">();
  let child: Bun.Subprocess;
  try {
    child = Bun.spawn({
      cmd: [
        process.execPath,
        // Nothing is to be fetched from a registry, and no .env is read, because a config names one.
        "--no-install",
        "--no-env-file",
        "-e",
        `(${childMain.toString()})(${JSON.stringify(file)})`,
      ],
      // A single-file executable is the runtime itself when told so.
      env: { ...env, BUN_BE_BUN: "1" },
      cwd: dirname(file),
      // What the config prints goes to standard error: standard output may be an access log.
      stdio: ["ignore", 2, 2],
      serialization: "json",
      ipc: (message) => resolve(message as Reply),
    });
  } catch (error) {
    return refused(`cannot start its evaluation: ${String(error)}`);
  }
  const timer = setTimeout(() => resolve("late"), timeoutMs);
  void child.exited.then(async () => {
    // A reply may still be on its way when the end of the process is seen.
    await Bun.sleep(50);
    resolve("ended");
  });
  const answer = await reply;
  clearTimeout(timer);
  child.kill("SIGKILL");
  await child.exited;
  if (answer === "late") return refused(`its evaluation took longer than ${timeoutMs / 1000} s`);
  if (answer === "ended") {
    return refused(
      `its evaluation ended the process (status ${child.exitCode ?? child.signalCode}) instead of exporting a config`,
    );
  }
  if ("faults" in answer) {
    return {
      ok: false,
      problems: answer.faults.slice(0, FAULTS_MAX).map((fault) => problemOf(fault, file)),
      sources: answer.sources,
    };
  }
  return { ok: true, value: JSON.parse(answer.json), sources: answer.sources };
}

function problemOf(fault: Fault, file: string): Problem {
  const elsewhere = fault.file !== null && fault.file !== file;
  const where = elsewhere ? ` (at ${fault.file}${fault.line === null ? "" : `:${fault.line}`})` : "";
  const place = !elsewhere && fault.line !== null ? { line: fault.line, column: fault.column ?? 1 } : null;
  return fileProblem(`${fault.message}${where}`, place);
}

/**
 * Runs in the child, sent there as text: it may use nothing from this file. Imports the config,
 * checks that JSON can carry it, and sends it.
 */
async function childMain(file: string): Promise<void> {
  const DEPTH = 64;
  // The package's name resolves for a config that lies where the package is not installed, too.
  Bun.plugin({
    name: "proxima-cdn",
    setup(build) {
      build.module("proxima-cdn", () => ({
        loader: "object",
        exports: { defineConfig: (config: unknown) => config },
      }));
    },
  });
  // What was imported, dependencies and this text itself left out.
  const sources = () =>
    Object.keys(require.cache)
      .filter((name) => /^(?:\/|[A-Za-z]:)/.test(name) && !/[\\/](?:node_modules[\\/]|\[eval\]$)/.test(name))
      .slice(0, 1000);
  const send = (message: object) => process.send?.({ ...message, sources: sources() });
  const fault = (message: string) => ({ message, file: null, line: null, column: null });

  const faultOf = (error: unknown): object => {
    const one = error as {
      message?: unknown;
      stack?: unknown;
      position?: { file?: string; line?: number; column?: number } | null;
    } | null;
    const message = typeof one?.message === "string" ? one.message : String(error);
    if (one?.position != null) {
      const { file = null, line = null, column = null } = one.position;
      return { message, file, line, column };
    }
    // The first place in a file of the config's own, not in the runtime's.
    for (const match of String(one?.stack ?? "").matchAll(
      /(?:at |\()((?:\/|[A-Za-z]:)[^()\n]*?):(\d+):(\d+)\)?$/gm,
    )) {
      return {
        message: `threw: ${message}`,
        file: match[1],
        line: Number(match[2]),
        column: Number(match[3]),
      };
    }
    return fault(message);
  };

  const notJson = (value: unknown, path: string, parents: unknown[]): string | null => {
    if (value === null || value === undefined || typeof value === "string" || typeof value === "boolean")
      return null;
    if (typeof value === "number")
      return Number.isFinite(value) ? null : `${path} is ${value}, which is no number a config can hold`;
    if (typeof value !== "object")
      return `${path} is a ${typeof value}; a config holds only texts, numbers, true, false, lists and objects`;
    if (parents.includes(value)) return `${path} holds itself`;
    if (parents.length > DEPTH) return `${path} nests deeper than ${DEPTH} levels`;
    const prototype = Object.getPrototypeOf(value);
    if (!Array.isArray(value) && prototype !== null && Object.getPrototypeOf(prototype) !== null) {
      return `${path} is a ${prototype.constructor?.name ?? "class"}; a config holds only plain objects and lists`;
    }
    for (const [key, item] of Object.entries(value)) {
      const step = Array.isArray(value) ? `[${key}]` : `${path === "" ? "" : "."}${key}`;
      const found = notJson(item, path + step, [...parents, value]);
      if (found !== null) return found;
    }
    return null;
  };

  try {
    const module: Record<string, unknown> = await import(file);
    const config = module.default;
    if (typeof config !== "object" || config === null || Array.isArray(config)) {
      const kind =
        config === undefined
          ? "it has none"
          : `it is ${Array.isArray(config) ? "a list" : `a ${typeof config}`}`;
      send({
        faults: [
          fault(`its default export must be an object, as in export default defineConfig({ ... }); ${kind}`),
        ],
      });
      return;
    }
    const found = notJson(config, "", []);
    if (found !== null) send({ faults: [fault(found)] });
    else send({ json: JSON.stringify(config) });
  } catch (error) {
    const errors = (error as { errors?: unknown } | null)?.errors;
    send({ faults: (Array.isArray(errors) && errors.length > 0 ? errors : [error]).map(faultOf) });
  }
}
