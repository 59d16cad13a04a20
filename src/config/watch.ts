/**
 * Watches a config file. Its folder is watched, not the file: editors write a new file and rename
 * it over the old one. What counts is the content: nothing happens while it is the same, and of
 * several changes at once only the last is read.
 */
import { type FSWatcher, realpathSync, watch } from "node:fs";
import { dirname } from "node:path";
import { messageOf } from "../base/errors.ts";
import type { ConfigReader } from "./config-reader.ts";
import { fileProblem, type Problem } from "./problems.ts";
import type { Config } from "./schema.ts";

/** What is done with a changed config. */
export interface ConfigHandlers {
  /** A valid config. Reading goes on when it is done; true when it is in force. What it throws becomes a problem. */
  onConfig(config: Config, warnings: readonly Problem[]): boolean | Promise<boolean>;
  /** The config is not valid, or cannot be read: the last good one stays in force. */
  onProblems(problems: readonly Problem[]): void;
}

/** A watched config. */
export interface ConfigWatch {
  /** Stops watching. A config that is being read is dropped. */
  close(): void;
  /** Looks now, whatever the file system says; resolves when what was found has been handed over. */
  check(): Promise<void>;
}

/** From a sign of change until the file is read: an editor's writes are one change. */
const SETTLE_MS = 100;
/** A reading that came to nothing for no fault of the files is tried again after this time, and later and later. */
const RETRY_MS = 10_000;
const RETRY_MS_MAX = 600_000;
/** Folders watched for the files that a config imports. */
const FOLDERS_MAX = 32;

/**
 * Watches the config of `loader` and calls the handlers for every change after this call. Never throws. Give it
 * the one that read the config before: unchanged sites stay the same objects, and the files that a
 * TypeScript config imports are watched from the start.
 */
export function watchConfig(
  loader: ConfigReader,
  handlers: ConfigHandlers,
  firstRetryMs = RETRY_MS,
): ConfigWatch {
  const watchers = new Map<string, FSWatcher>();
  let closed = false;
  let timer: ReturnType<typeof setTimeout> | null = null;
  let retry: ReturnType<typeof setTimeout> | null = null;
  let retryMs = firstRetryMs;
  // The last config was valid and is not in force: what it names may be there by the time that somebody asks.
  let isRefused = false;
  // Readings stand in line: each waits for the one before.
  let line: Promise<void> = Promise.resolve();

  const watchFolders = () => {
    const folders = new Set(loader.sources.flatMap((source) => [dirname(source), dirname(targetOf(source))]));
    for (const folder of [...folders].slice(0, FOLDERS_MAX)) {
      if (watchers.has(folder)) continue;
      try {
        const watcher = watch(folder, { persistent: false }, () => soon());
        // A folder that goes away is no reason to end: check() still works.
        watcher.on("error", () => forget(folder));
        watchers.set(folder, watcher);
      } catch {
        // Not watchable (no such folder, or the system's limit of watches): check() still works.
      }
    }
    for (const folder of watchers.keys()) if (!folders.has(folder)) forget(folder);
  };
  const forget = (folder: string) => {
    watchers.get(folder)?.close();
    watchers.delete(folder);
  };
  const soon = () => {
    if (closed || timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      void inLine(false);
    }, SETTLE_MS);
    timer.unref();
  };
  const check = () => inLine(true);
  /** `isAsked`: what missed or was refused is made up for. What happens in a folder alone is no reason: logs may be written there. */
  const inLine = (isAsked: boolean) => {
    line = line
      .then(() => look(isAsked))
      .catch((error: unknown) => {
        tell([fileProblem(`cannot be put in force: ${messageOf(error)}`)]);
      });
    return line;
  };
  const look = async (isAsked: boolean) => {
    const isOwed = isAsked && (loader.missed || isRefused);
    if (closed || !(isOwed || (await loader.changed()))) return;
    const result = await loader.load();
    if (closed) return;
    watchFolders();
    // What it imports for the first time may have changed before its folder was watched.
    soon();
    isRefused = result.ok;
    if (result.ok) {
      retryMs = firstRetryMs;
      isRefused = !(await handlers.onConfig(result.config, result.warnings));
      return;
    }
    tell(result.problems);
    if (loader.missed) lookLater();
  };
  const lookLater = () => {
    if (closed || retry !== null) return;
    retry = setTimeout(() => {
      retry = null;
      void check();
    }, retryMs);
    retry.unref();
    retryMs = Math.min(2 * retryMs, RETRY_MS_MAX);
  };
  const tell = (problems: readonly Problem[]) => {
    try {
      handlers.onProblems(problems);
    } catch {
      // The handler is there to tell a person; when it cannot, the config still stays as it was.
    }
  };

  loader.takeAsRead();
  watchFolders();
  // It may have changed since it was read: starting takes its time.
  soon();
  return {
    close() {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      if (retry !== null) clearTimeout(retry);
      for (const folder of [...watchers.keys()]) forget(folder);
    },
    check,
  };
}

/** Where a file really lies: what a link points to may be changed without touching the link. */
function targetOf(file: string): string {
  try {
    return realpathSync(file);
  } catch {
    return file;
  }
}
