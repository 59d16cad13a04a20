/** What the command line asks for. */
import { resolve } from "node:path";
import { parseVariant, type Variant } from "./peers/proxima.ts";

/** The ways to run it. */
export type Command = "whole" | "quick" | "check";

/** Parsed arguments. */
export interface Options {
  readonly command: Command;
  /** Folder of the report. */
  readonly out: string;
  /** Peers to measure by name; null: all that are installed. */
  readonly peers: readonly string[] | null;
  /** Cells to measure by the beginning of their id; null: those of the command. */
  readonly cells: readonly string[] | null;
  readonly rounds: number;
  readonly seconds: number;
  /** Rows of Proxima beside the shipped one. */
  readonly variants: readonly Variant[];
  /** Folder for CPU profiles of Proxima's rows; null: none are made. */
  readonly profile: string | null;
  /** Measures beside the cells. */
  readonly measures: boolean;
  /** Peers that are not installed are left out instead of ending the run. */
  readonly allowMissing: boolean;
  /** `check` ends with status 1 when a ratio fell. */
  readonly strict: boolean;
  /** `check`: writes the baseline anew from the last results. */
  readonly update: boolean;
}

const USAGE = `npm run bench -- [whole|quick|check] [options]
  --peers a,b        only these peers (proxima is always there)
  --cells a,b        only cells whose id begins so, such as h1-1kb or h2
  --rounds N         interleaved rounds of each cell
  --seconds N        seconds of each load
  --no-measures      cells only
  --variant N={...}  one more row of Proxima with these settings
  --profile DIR      CPU profiles of Proxima's rows; rates are lower with it
  --allow-missing    leave out peers that are not installed
  --out DIR          folder of the report
  --strict           check: status 1 when a ratio fell by more than 15 %
  --update           check: write the baseline anew`;

/** Reads arguments. Throws an Error of one sentence, or the usage, when they are wrong. */
export function parseOptions(args: readonly string[], resultsFolder: string): Options {
  let command: Command | null = null;
  const given = {
    out: resultsFolder,
    peers: null as string[] | null,
    cells: null as string[] | null,
    rounds: null as number | null,
    seconds: null as number | null,
    variants: [] as Variant[],
    profile: null as string | null,
    measures: true,
    allowMissing: false,
    strict: false,
    update: false,
  };
  const left = [...args];
  const value = (name: string): string => {
    const next = left.shift();
    if (next === undefined) throw new Error(`${name} needs a value\n${USAGE}`);
    return next;
  };
  const count = (name: string): number => {
    const text = value(name);
    if (!/^[1-9]\d{0,3}$/.test(text)) throw new Error(`${name} ${text}: a whole number from 1 to 9999`);
    return Number(text);
  };
  for (let arg = left.shift(); arg !== undefined; arg = left.shift()) {
    switch (arg) {
      case "whole":
      case "quick":
      case "check":
        if (command !== null) throw new Error(`${command} and ${arg} do not go together\n${USAGE}`);
        command = arg;
        break;
      case "--peers":
        given.peers = value(arg).split(",");
        break;
      case "--cells":
        given.cells = value(arg).split(",");
        break;
      case "--rounds":
        given.rounds = count(arg);
        break;
      case "--seconds":
        given.seconds = count(arg);
        break;
      case "--variant":
        given.variants.push(parseVariant(value(arg)));
        break;
      case "--profile":
        given.profile = resolve(value(arg));
        break;
      case "--out":
        given.out = value(arg);
        break;
      case "--no-measures":
        given.measures = false;
        break;
      case "--allow-missing":
        given.allowMissing = true;
        break;
      case "--strict":
        given.strict = true;
        break;
      case "--update":
        given.update = true;
        break;
      default:
        throw new Error(`there is no option ${arg}\n${USAGE}`);
    }
  }
  const quick = command === "quick";
  return {
    ...given,
    command: command ?? "whole",
    rounds: given.rounds ?? (quick ? 3 : 5),
    seconds: given.seconds ?? (quick ? 1 : 3),
  };
}
