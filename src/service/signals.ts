/**
 * What a process runs and the signals it gets: SIGTERM and SIGINT drain it, a second one ends the
 * process at once; SIGHUP reads the config again and opens the access log anew.
 */
import { constants } from "node:os";
import { messageOf } from "../base/errors.ts";
import { installFaultHandlers } from "../service/faults.ts";
import type { NodeLog } from "../service/log.ts";

type EndingSignal = "SIGTERM" | "SIGINT";

/** A node or a control plane that runs. */
export interface Service {
  /** Reads the config again. */
  reload(): Promise<void>;
  reopenLog(): Promise<void>;
  /** Drains and ends it. */
  stop(): Promise<void>;
}

/** What the process does when it ends; replaced in tests. */
export interface ProcessHooks {
  readonly exit: (status: number) => void;
}

/** Resolves with the exit status when the service was told to end and has drained: 0, or 1 after a fault. */
export function runUntilSignal(
  service: Service,
  log: NodeLog,
  hooks: ProcessHooks = { exit: (status) => process.exit(status) },
): Promise<number> {
  return new Promise((resolve) => {
    let ending = false;
    const end = (why: string, status: number) => {
      ending = true;
      log("info", `${why}: draining`);
      service
        .stop()
        .catch((error: unknown) => log("error", `draining failed: ${messageOf(error)}`))
        .finally(() => {
          process.off("SIGTERM", onEndingSignal);
          process.off("SIGINT", onEndingSignal);
          process.off("SIGHUP", onHangup);
          removeFaultHandlers();
          resolve(status);
        });
    };
    const onEndingSignal = (signal: EndingSignal) => {
      // A person who presses Ctrl+C twice does not want to wait.
      if (ending) hooks.exit(128 + constants.signals[signal]);
      else end(signal, 0);
    };
    const onHangup = () => {
      if (ending) return;
      service
        .reopenLog()
        .then(() => service.reload())
        .catch((error: unknown) => log("error", `SIGHUP: ${messageOf(error)}`));
    };
    const removeFaultHandlers = installFaultHandlers({
      log,
      now: () => Date.now(),
      fatal: () => {
        if (!ending) end("a fault that is not safe to ignore", 1);
      },
    });
    process.on("SIGTERM", onEndingSignal);
    process.on("SIGINT", onEndingSignal);
    process.on("SIGHUP", onHangup);
  });
}
