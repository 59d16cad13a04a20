/** The argument that makes the program a worker. It is not a command for people. */
export const WORKER_COMMAND = "worker";
