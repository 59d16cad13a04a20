/**
 * What happens when an error reaches nobody. A rejected promise that no one awaited belongs to one
 * request or one timer: it is logged and the node carries on, because ending the process would fail
 * every other viewer's request. The same goes for a socket error that nobody listened for. Any other
 * uncaught exception may have left shared state half changed: the node drains and ends, and whoever
 * started it starts it anew.
 */
import type { NodeLog } from "./log.ts";

/** Faults told of in one window; the rest are counted. */
const FAULTS_LOGGED_MAX = 20;
const WINDOW_MS = 60_000;
/** Carrying on past this many in a window would be pretending. */
const FAULTS_PER_WINDOW_MAX = 1_000;

/** Errors of one connection; nothing of ours is half done when they surface late. */
const CONNECTION_CODES: ReadonlySet<string> = new Set([
  "ECONNRESET",
  "ECONNREFUSED",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ERR_STREAM_DESTROYED",
  "ERR_STREAM_PREMATURE_CLOSE",
  "ERR_SOCKET_CLOSED",
  "ABORT_ERR",
]);

/** How the process is told to end after a fault that is not safe to ignore. */
export interface FaultOptions {
  readonly log: NodeLog;
  readonly now: () => number;
  /** Called once; drains and ends the process. */
  readonly fatal: () => void;
}

/** Installs the process-wide handlers; returns a function that takes them off again. */
export function installFaultHandlers(options: FaultOptions): () => void {
  let windowStartMs = options.now();
  let inWindow = 0;
  let ending = false;

  const end = () => {
    if (ending) return;
    ending = true;
    options.fatal();
  };
  const count = (what: string, error: unknown) => {
    const now = options.now();
    if (now - windowStartMs >= WINDOW_MS) {
      if (inWindow > FAULTS_LOGGED_MAX) {
        options.log("error", `${inWindow - FAULTS_LOGGED_MAX} more faults were not logged`);
      }
      windowStartMs = now;
      inWindow = 0;
    }
    inWindow++;
    if (inWindow <= FAULTS_LOGGED_MAX) options.log("error", `${what}: ${describe(error)}`);
    if (inWindow > FAULTS_PER_WINDOW_MAX) end();
  };
  const onRejection = (error: unknown) => count("unhandled rejection", error);
  const onException = (error: unknown) => {
    count("uncaught exception", error);
    if (!isConnectionError(error)) end();
  };
  process.on("unhandledRejection", onRejection);
  process.on("uncaughtException", onException);
  return () => {
    process.off("unhandledRejection", onRejection);
    process.off("uncaughtException", onException);
  };
}

function isConnectionError(error: unknown): boolean {
  return (
    error instanceof Error &&
    "code" in error &&
    typeof error.code === "string" &&
    CONNECTION_CODES.has(error.code)
  );
}

/** The message and the place it came from: a fault is a bug, and a bug needs its stack. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const frames = (error.stack ?? "")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line.startsWith("at "))
    .slice(0, 4);
  return [`${error.name}: ${error.message}`, ...frames].join(" ");
}
