/** The program: it hands the command line its parts, and nothing else. */
import { ProximaError } from "./base/errors.ts";
import { systemIo } from "./cli/io.ts";
import { run } from "./cli/program.ts";

process.exit(
  await run(process.argv.slice(2), {
    io: systemIo(),
    createEdge: () =>
      Promise.reject(new ProximaError("not_wired", "the edge is not wired yet", { source: "node" })),
    startDemo: () =>
      Promise.reject(new ProximaError("not_wired", "the demo is not wired yet", { source: "node" })),
  }),
);
