#!/usr/bin/env node
/** `npm start [-- ORIGIN OPTIONS...]`: installs what is needed, then runs `proxima dev` with the arguments. */
import { program, runProxima } from "./bun.mjs";
import { ensureInstalled } from "./install.mjs";

await program(async () => {
  ensureInstalled();
  // npm runs scripts in the package's folder; a relative directory means the one the person is in.
  await runProxima(["dev", ...process.argv.slice(2)], { cwd: process.env.INIT_CWD ?? process.cwd() });
});
