/** The programs that a comparison needs, and the Debian packages that hold them. Nothing is installed from here. */

/** A program and the package that brings it. */
export interface NeededProgram {
  readonly program: string;
  readonly package: string;
  /** Prints the program's version; on either stream. */
  readonly version: readonly string[];
}

/** Programs without which nothing can be measured. */
export const TOOLS: readonly NeededProgram[] = [
  { program: "wrk", package: "wrk", version: ["-v"] },
  { program: "h2load", package: "nghttp2-client", version: ["--version"] },
  { program: "taskset", package: "util-linux", version: ["--version"] },
  { program: "setpriv", package: "util-linux", version: ["--version"] },
  { program: "prlimit", package: "util-linux", version: ["--version"] },
];

/** Programs that are compared with. */
export const PEER_PROGRAMS = {
  nginx: { program: "nginx", package: "nginx-light", version: ["-v"] },
  haproxy: { program: "haproxy", package: "haproxy", version: ["-v"] },
  varnish: { program: "varnishd", package: "varnish", version: ["-V"] },
  trafficserver: { program: "traffic_server", package: "trafficserver", version: ["-V"] },
  h2o: { program: "h2o", package: "h2o", version: ["-v"] },
} as const satisfies Record<string, NeededProgram>;

/** Where system programs lie that are not on everybody's PATH. */
const SYSTEM_PATHS = "/usr/local/sbin:/usr/sbin:/sbin";

/** The path of a program; null when it is not installed. */
export function findProgram(name: string, path = process.env.PATH ?? ""): string | null {
  return Bun.which(name, { PATH: `${path}:${SYSTEM_PATHS}` });
}

/** Those of `needed` that are not here. */
export function missingPrograms(
  needed: readonly NeededProgram[],
  find: (name: string) => string | null = findProgram,
): NeededProgram[] {
  return needed.filter(({ program }) => find(program) === null);
}

/** One sentence: what is missing and the command that installs it; null when nothing is. */
export function describeMissing(missing: readonly NeededProgram[]): string | null {
  if (missing.length === 0) return null;
  const programs = missing.map((one) => `${one.program} (package ${one.package})`).join(", ");
  const packages = [...new Set(missing.map((one) => one.package))].join(" ");
  return `not installed: ${programs}; on Debian: apt-get install --no-install-recommends ${packages}`;
}

/** The first version number that a program tells of itself; "unknown" when it tells none. */
export function versionOf({ program, version }: NeededProgram): string {
  const path = findProgram(program);
  if (path === null) return "not installed";
  const { stdout, stderr } = Bun.spawnSync([path, ...version], { stdout: "pipe", stderr: "pipe" });
  return /\d+\.\d+(?:\.\d+)*/.exec(`${stdout}${stderr}`)?.[0] ?? "unknown";
}
