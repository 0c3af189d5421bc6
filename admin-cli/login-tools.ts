/** The commands of the login nodes, by the names that people type. */
import { runCommand } from './exit.ts'
import { getSingularityToken } from './get-singularity-token.ts'

const tools: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = {
  get_singularity_token: getSingularityToken,
}

export const loginTools: readonly string[] = Object.keys(tools)

/** Runs one of `loginTools` with the words after its name; what goes wrong is told and decides the exit status. */
export async function loginTool(name: string, args: readonly string[]): Promise<void> {
  const tool = tools[name]
  if (tool !== undefined) await runCommand(name, async () => await tool(args))
}
