/** What listings are for programs. */
export const jsonOption = { type: 'boolean', summary: 'as JSON, for programs' } as const

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}
