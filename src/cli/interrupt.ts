/** How a command that takes its time is ended from outside. */
import { constants } from "node:os";

/** The first signal ends the command with a report, a second one the process. */
export function onInterrupt(stop: (why: string) => void): () => void {
  let stopping = false;
  const onSignal = (signal: "SIGINT" | "SIGTERM") => {
    if (stopping) process.exit(128 + constants.signals[signal]);
    stopping = true;
    stop(signal);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return () => {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  };
}
