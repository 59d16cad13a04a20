/** Loaded into a process before the program: on SIGUSR2 it writes down what the process has loaded and holds. */
import { heapStats } from "bun:jsc";
import { renameSync, writeFileSync } from "node:fs";

const folder = process.env.PROXIMA_TEST_LOADED;
if (folder !== undefined)
  process.on("SIGUSR2", () => {
    // Twice: what a first collection finalises, the second one frees.
    Bun.gc(true);
    Bun.gc(true);
    const file = `${folder}/loaded-${process.pid}`;
    const modules = Object.keys(require.cache);
    writeFileSync(`${file}.new`, JSON.stringify({ modules, objects: heapStats().objectCount }));
    renameSync(`${file}.new`, `${file}.json`);
  });
