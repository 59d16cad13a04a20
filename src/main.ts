/** The program: it hands the command line its parts, and nothing else. What only some commands need is loaded by them. */
import { READING_COMMAND } from "./config/reading/command.ts";
import { WORKER_COMMAND } from "./node/workers/command.ts";

const [, , command, asker, file] = process.argv;
// A worker needs neither command line nor config files: it is told everything, and stays small.
if (command === WORKER_COMMAND) {
  const { runWorker } = await import("./node/workers/worker.ts");
  runWorker();
} else if (command === READING_COMMAND && file !== undefined) {
  const { runReading } = await import("./config/reading/process.ts");
  const { VERSION } = await import("./cli/version.ts");
  await runReading(file, asker === VERSION);
} else {
  const { systemIo } = await import("./cli/io.ts");
  const { run } = await import("./cli/program.ts");
  const { VERSION } = await import("./cli/version.ts");
  const { ConfigProcess } = await import("./config/reading/config-process.ts");
  const { edges } = await import("./node/workers/edges.ts");
  // --no-orphans: such a process does not outlive one that is killed outright.
  const runtime = [process.execPath, "--no-install", "--no-orphans"];
  // A config sees the environment that this process has, and no .env of a later day.
  const reader = [...runtime, "--no-env-file", import.meta.path, READING_COMMAND, VERSION];
  const parts = {
    io: systemIo(),
    createEdge: edges([...runtime, import.meta.path, WORKER_COMMAND]),
    openConfig: (path: string) => new ConfigProcess(path, reader),
    startDemo: async () => (await import("./cli/demo/origin.ts")).startDemoOrigin(),
  };
  process.exit(await run(process.argv.slice(2), parts));
}
