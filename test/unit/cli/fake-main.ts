/** The program with a fake data plane and a fake demo site: for tests of the command line alone. */
import { systemIo } from "../../../src/cli/io.ts";
import { run } from "../../../src/cli/program.ts";
import { ConfigLoader } from "../../../src/config/load.ts";
import { createFakeEdge } from "../node/fake-edge.ts";

process.exit(
  await run(process.argv.slice(2), {
    io: systemIo(),
    createEdge: createFakeEdge,
    openConfig: (file) => new ConfigLoader(file),
    startDemo: () => {
      const site = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("demo") });
      return Promise.resolve({
        url: `http://127.0.0.1:${site.port}`,
        trials: [{ shows: "MISS", path: "/" }],
        stop: () => site.stop(true),
      });
    },
  }),
);
