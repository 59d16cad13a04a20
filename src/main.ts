/** The program: it hands the command line its parts, and nothing else. */
import { startDemoOrigin } from "./cli/demo/origin.ts";
import { systemIo } from "./cli/io.ts";
import { run } from "./cli/program.ts";
import { createEdge } from "./node/create-edge.ts";

process.exit(await run(process.argv.slice(2), { io: systemIo(), createEdge, startDemo: startDemoOrigin }));
