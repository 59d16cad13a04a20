/** The program: it hands the command line its parts, and nothing else. What only some commands need is loaded by them. */
import { WORKER_COMMAND } from "./node/workers/command.ts";

// A worker needs neither command line nor config files: it is told everything, and stays small.
if (process.argv[2] === WORKER_COMMAND) {
  const { runWorker } = await import("./node/workers/worker.ts");
  runWorker();
} else {
  const { systemIo } = await import("./cli/io.ts");
  const { run } = await import("./cli/program.ts");
  const { edges } = await import("./node/workers/edges.ts");
  // --no-orphans: a worker does not outlive a supervisor that is killed outright.
  const workerCommand = [process.execPath, "--no-install", "--no-orphans", import.meta.path, WORKER_COMMAND];
  const parts = {
    io: systemIo(),
    createEdge: edges(workerCommand),
    startDemo: async () => (await import("./cli/demo/origin.ts")).startDemoOrigin(),
  };
  process.exit(await run(process.argv.slice(2), parts));
}
