/** `proxima dev --ci` as a process, and how a test asks it. */
import { CI_TOKEN } from "../../src/cli/ci/token.ts";
import type { ControlAnswer } from "./control.ts";
import { askControl } from "./fleet.ts";
import type { Program, Programs } from "./program.ts";

/** The ready line. */
export interface CiReady {
  readonly pid: number;
  readonly control: string;
  readonly token: string;
  readonly accessKey: { readonly accessKeyId: string; readonly secretAccessKey: string };
  readonly takeover: { readonly url: string; readonly caFile: string; readonly hosts: readonly string[] };
  readonly pops: Readonly<Record<string, { readonly url: string; readonly control: string }>>;
  readonly shield: { readonly url: string; readonly control: string } | null;
  readonly dataDir: string;
}

/** An answer of a PoP, as far as tests look at it. */
export interface CiAnswer {
  readonly status: number;
  readonly body: string;
  readonly cache: string | null;
  readonly cacheStatus: string;
  readonly age: number | null;
  readonly dateMs: number;
}

/** A run under test. */
export class CiRun {
  readonly program: Program;
  readonly ready: CiReady;

  private constructor(program: Program, ready: CiReady) {
    this.program = program;
    this.ready = ready;
  }

  static async start(programs: Programs, ...argv: string[]): Promise<CiRun> {
    const program = programs.start(["dev", ...argv, "--ci", "--json"]);
    const [line] = await program.until(/^\{"ready":true.*\}$/m);
    return new CiRun(program, JSON.parse(line) as CiReady);
  }

  async get(pop: string, path: string, headers: Readonly<Record<string, string>> = {}): Promise<CiAnswer> {
    const response = await fetch(`${this.ready.pops[pop]?.url}${path}`, {
      headers,
      keepalive: false,
      redirect: "manual",
    } as RequestInit);
    const age = response.headers.get("age");
    return {
      status: response.status,
      body: await response.text(),
      cache: response.headers.get("x-cache"),
      cacheStatus: response.headers.get("cache-status") ?? "",
      age: age === null ? null : Number(age),
      dateMs: Date.parse(response.headers.get("date") ?? ""),
    };
  }

  ask(method: string, path: string, body?: unknown, token = CI_TOKEN): Promise<ControlAnswer> {
    return askControl(this.ready.control, token, method, path, body);
  }
}
