/** How `proxima simulate` is written on the command line: its options, read into values, and its help. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { POLICY_NAMES } from "../cache/eviction/policies.ts";
import type { PolicyName } from "../cache/eviction/policy.ts";
import type { QueryRule } from "../config/plan.ts";
import { parseSize } from "../config/size.ts";
import type { Io } from "./io.ts";
import type { CacheSize, SimulateOptions } from "./simulate.ts";

/** Sizes in one report. */
const SIZES_MAX = 8;
const NAMES_MAX = 100;

/** Adds the command to the program. */
export function addSimulateCommand(root: Command, io: Io, exitHelp: string): void {
  root
    .command("simulate")
    .description("what caches of other sizes, policies and keys would have missed of an access log")
    .requiredOption("--log <FILE>", "the log; - is standard input; gzip is unpacked")
    .addOption(
      new Option("--cache <SIZE,...>", "sizes of the cache, such as 256MiB, or 10% of all objects together")
        .argParser(readSizes)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option("--policy <NAME,...>", `of ${POLICY_NAMES.join(", ")}`)
        .argParser(readPolicies)
        .default(POLICY_NAMES, "all"),
    )
    .option("--strip-tracking", "leave utm_*, gclid, fbclid and the like out of the key")
    .addOption(
      new Option("--query <RULE>", "the query in the key: all, none, or include:NAME,...")
        .argParser(readQuery)
        .default({ kind: "all" }, "all"),
    )
    .option("--json", "print the report as JSON")
    .addHelpText(
      "after",
      `
Reads Proxima's JSON lines, and the common and combined formats of nginx and Apache. Each cell of the tables is
the share of requests, then of bytes, that the cache would have missed, the first request of each object included.
Lifetimes are not simulated: an object is stored once and stays fresh. Proxima's log says which answers may be
stored; of other logs every GET and HEAD with a cacheable status counts.

Examples:
  $ proxima simulate --log access.log --cache 256MiB,1GiB,10GiB
  $ proxima simulate --log access.log.gz --cache 1%,10% --policy lru,gdsf --strip-tracking
  $ zcat access.log.*.gz | proxima simulate --log - --cache 1GiB --query include:page,id --json
${exitHelp}`,
    )
    .action(async (options: SimulateOptions) => {
      const { simulateCommand } = await import("./simulate.ts");
      await simulateCommand(options, io);
    });
}

function readSizes(text: string): CacheSize[] {
  const sizes = text.split(",").map((part): CacheSize | null => {
    const share = /^(\d{1,3}(?:\.\d{1,6})?)%$/.exec(part);
    if (share !== null) {
      const percent = Number(share[1]);
      return percent > 0 && percent <= 100 ? { text: part, bytes: null, share: percent / 100 } : null;
    }
    const bytes = parseSize(part);
    return bytes === null || bytes === 0 ? null : { text: part, bytes, share: null };
  });
  if (sizes.length > SIZES_MAX || sizes.includes(null)) {
    throw new InvalidArgumentError(
      `Expected 1 to ${SIZES_MAX} sizes with commas between them, such as 256MiB,1GiB or 1%,10%.`,
    );
  }
  return sizes.filter((size) => size !== null);
}

function readPolicies(text: string): PolicyName[] {
  const names = text.split(",").map((part) => POLICY_NAMES.find((name) => name === part));
  if (names.includes(undefined)) {
    throw new InvalidArgumentError(`Expected names of ${POLICY_NAMES.join(", ")} with commas between them.`);
  }
  return [...new Set(names.filter((name) => name !== undefined))];
}

function readQuery(text: string): QueryRule {
  if (text === "all" || text === "none") return { kind: text };
  const names = text.startsWith("include:") ? text.slice("include:".length).split(",") : [];
  if (names.length === 0 || names.length > NAMES_MAX || names.includes("")) {
    throw new InvalidArgumentError(
      `Expected all, none, or include: and 1 to ${NAMES_MAX} names, such as include:page,id.`,
    );
  }
  return { kind: "include", names: new Set(names) };
}
