/** A folder of files that say which release they are of: whether what viewers get is whole can be seen. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** The folder. */
export class ReleaseFolder {
  readonly path: string;
  readonly names: readonly string[];

  constructor(path: string, count: number) {
    this.path = path;
    this.names = Array.from({ length: count }, (_, index) => `d${index % 20}/f${index}.txt`);
  }

  /** Writes a release of it, every file of which is another than before; returns its number. */
  write(release: number): number {
    rmSync(this.path, { recursive: true, force: true });
    for (const name of this.names) {
      const file = join(this.path, name);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, `release ${release} of ${name}`);
    }
    return release;
  }
}

/** The release that viewers get; throws when they get parts of several. */
export async function wholeRelease(
  folder: ReleaseFolder,
  get: (path: string) => Promise<{ readonly status: number; readonly body: string }>,
): Promise<number> {
  const seen = new Map<string, string>();
  for (let at = 0; at < folder.names.length; at += 32)
    await Promise.all(
      folder.names.slice(at, at + 32).map(async (name) => {
        const { status, body } = await get(`/${name}`);
        const release = /^release (\d+) of (\S+)$/.exec(body);
        seen.set(
          release !== null && release[2] === name ? (release[1] ?? "") : `${status} ${body.slice(0, 60)}`,
          name,
        );
      }),
    );
  const [only, ...others] = seen.keys();
  if (only === undefined || others.length > 0 || !/^\d+$/.test(only))
    throw new Error(`viewers do not get one release: ${JSON.stringify([...seen])}`);
  return Number(only);
}
