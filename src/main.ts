/** The program: it hands the command line its parts, and nothing else. What only some commands need is loaded by them. */
import { READING_COMMAND } from "./config/reading/command.ts";
import { WORKER_COMMAND } from "./node/workers/command.ts";

const [, , command, file] = process.argv;
// A worker needs neither command line nor config files: it is told everything, and stays small.
if (command === WORKER_COMMAND) {
  const { runWorker } = await import("./node/workers/worker.ts");
  runWorker();
} else if (command === READING_COMMAND && file !== undefined) {
  const { runReading } = await import("./config/reading/process.ts");
  await runReading(file);
} else {
  const { systemIo } = await import("./cli/io.ts");
  const { run } = await import("./cli/program.ts");
  const { ConfigProcess } = await import("./config/reading/config-process.ts");
  const { edges } = await import("./node/workers/edges.ts");
  // --no-orphans: such a process does not outlive one that is killed outright.
  const own = [process.execPath, "--no-install", "--no-orphans", import.meta.path];
  const parts = {
    io: systemIo(),
    createEdge: edges([...own, WORKER_COMMAND]),
    openConfig: (path: string) => new ConfigProcess(path, [...own, READING_COMMAND]),
    startDemo: async () => (await import("./cli/demo/origin.ts")).startDemoOrigin(),
  };
  process.exit(await run(process.argv.slice(2), parts));
}
