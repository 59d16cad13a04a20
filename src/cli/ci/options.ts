/** How `proxima dev --ci` is written on the command line: its options, read into values. */
import { InvalidArgumentError, Option } from "commander";
import type { ListenAddress } from "../../config/address.ts";
import { UsageError } from "../failure.ts";
import { readAddress } from "../options.ts";

/** Options of `dev` that are for a local CI run alone. */
export interface CiCommandOptions {
  readonly ci?: boolean;
  readonly pops?: readonly string[];
  /** False with --no-shield. */
  readonly shield: boolean;
  readonly config?: string;
  /** Milliseconds since the epoch. */
  readonly clock?: number;
  readonly takeover?: ListenAddress;
  readonly json?: boolean;
  readonly untilStdinEnds?: boolean;
}

/** Names of the PoPs of a run that names none. */
export const POPS_DEFAULT = ["fra", "nyc", "tyo"] as const;
const POPS_MAX = 16;
const POP_NAME = /^[a-z0-9][a-z0-9-]{0,30}$/;

/** The options, for `dev`'s command. */
export function ciOptions(): readonly Option[] {
  return [
    new Option("--ci", "a whole CDN for a test run: control plane, shield, PoPs, a clock that can be moved"),
    new Option("--pops <NAMES>", `with --ci: names of the PoPs, such as ${POPS_DEFAULT.join(",")}`).argParser(
      readPops,
    ),
    new Option("--no-shield", "with --ci: no shield between the PoPs and the origin"),
    new Option("--config <FILE>", "with --ci: the sites of a config; an origin stands in for all of theirs"),
    new Option("--clock <TIME>", "with --ci: when its time begins, such as 2027-01-01T00:00:00Z").argParser(
      readTime,
    ),
    new Option(
      "--takeover <HOST:PORT>",
      "with --ci: also answer for the hosts of Cloudflare, Fastly, CloudFront, Bunny and Akamai there",
    ).argParser(readAddress),
    new Option("--json", "with --ci: say where everything is as one line of JSON"),
    new Option("--until-stdin-ends", "with --ci: end when standard input does, as when the parent is killed"),
  ];
}

/** Says which option needs --ci, when it is not given. */
export function refuseWithoutCi(options: CiCommandOptions): void {
  const given = [
    ...(options.pops === undefined ? [] : ["--pops"]),
    ...(options.shield ? [] : ["--no-shield"]),
    ...(options.config === undefined ? [] : ["--config"]),
    ...(options.clock === undefined ? [] : ["--clock"]),
    ...(options.takeover === undefined ? [] : ["--takeover"]),
    ...(options.json === undefined ? [] : ["--json"]),
    ...(options.untilStdinEnds === undefined ? [] : ["--until-stdin-ends"]),
  ];
  if (given.length > 0) throw new UsageError(`${given.join(", ")}: this is for dev --ci`);
}

function readPops(text: string): string[] {
  const names = text.split(",");
  const bad = names.find((name) => !POP_NAME.test(name) || name === "shield");
  if (bad !== undefined)
    throw new InvalidArgumentError(
      `Expected names with commas between them, each of lower-case letters, digits and -, and not "shield"; got "${bad}".`,
    );
  if (new Set(names).size !== names.length || names.length > POPS_MAX)
    throw new InvalidArgumentError(`Expected 1 to ${POPS_MAX} names, none of them twice.`);
  return names;
}

function readTime(text: string): number {
  const ms = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(text)
    ? Date.parse(text)
    : Number.NaN;
  if (Number.isNaN(ms) || ms < 0)
    throw new InvalidArgumentError("Expected a time such as 2027-01-01T00:00:00Z.");
  return ms;
}
