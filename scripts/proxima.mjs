#!/usr/bin/env node
/** The program `proxima`, with all its commands: installs what is needed, then hands the arguments on. */
import { program, runProxima } from "./bun.mjs";
import { ensureInstalled } from "./install.mjs";

await program(async () => {
  ensureInstalled();
  await runProxima(process.argv.slice(2));
});
