/**
 * Proxima beside nginx, HAProxy, Varnish, Traffic Server and H2O, in one run: rates, latencies, CPU, memory.
 *
 *   npm run bench                    the whole: some forty minutes
 *   npm run bench -- quick           the cells that matter most, in short
 *   npm run bench -- check           compares the last results with bench/baselines/ratios.json
 *
 * It installs nothing, and says which Debian packages it misses. The report goes to bench/results/.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compared, describeFalls, falls, type Ratios, ratiosOf } from "./compare/baseline.ts";
import { chart } from "./compare/chart.ts";
import { parseOptions } from "./compare/options.ts";
import { markdown } from "./compare/report.ts";
import type { Results } from "./compare/results.ts";
import { compare } from "./compare/run.ts";

const BASELINE = join(import.meta.dir, "baselines", "ratios.json");
const args = process.argv.slice(2);

function readJson<T>(path: string, otherwise: string): T {
  if (!existsSync(path)) throw new Error(otherwise);
  return JSON.parse(readFileSync(path, "utf8")) as T;
}

try {
  const options = parseOptions(args, join(import.meta.dir, "results"));
  const file = join(options.out, "results.json");
  if (options.command === "check") {
    const now = ratiosOf(
      readJson<Results>(
        file,
        `There are no results in ${options.out}: run \`npm run bench -- quick\` first.`,
      ),
    );
    if (options.update) {
      writeFileSync(BASELINE, `${JSON.stringify(now, null, 2)}\n`);
      console.log(`${Object.keys(now).length} ratios written to ${BASELINE}`);
    } else {
      const baseline = readJson<Ratios>(
        BASELINE,
        "There is no baseline: write one with `npm run bench -- check --update`.",
      );
      const found = falls(baseline, now);
      if (found.length > 0) console.log(describeFalls(found));
      console.log(`${compared(baseline, now)} ratios compared, ${found.length} fell by more than 15 %`);
      if (options.strict && found.length > 0) process.exitCode = 1;
    }
  } else {
    const results = await compare(
      options,
      `npm run bench${args.length === 0 ? "" : ` -- ${args.join(" ")}`}`,
      console.log,
    );
    mkdirSync(options.out, { recursive: true });
    writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
    writeFileSync(join(options.out, "results.md"), markdown(results));
    writeFileSync(join(options.out, "results.svg"), chart(results));
    console.log(`\n${markdown(results)}\nWritten to ${options.out}: results.json, results.md, results.svg`);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
