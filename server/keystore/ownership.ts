/** Whose key it is: by its user IDs. Pure. */

export interface Person {
  readonly name: string
  /** Of the directory; empty where it has none. */
  readonly email: string
}

/** `Name (comment) <mail>`; ABCI's people write their account name in both places. */
export function namesIn(userId: string): { name: string; email: string } {
  const match = /^\s*([^<(]*?)\s*(?:\([^)]*\))?\s*(?:<([^<>]*)>)?\s*$/.exec(userId)
  const [, name = '', email = ''] = match ?? []
  const isMail = name.includes('@') && email === ''
  return {
    name: (isMail ? '' : name).toLowerCase(),
    email: (isMail ? name : email).toLowerCase(),
  }
}

/** Whether a user ID names this person: the account in its name or mail field, or his address. */
export function isNamed(userId: string, { name, email }: Person): boolean {
  const named = namesIn(userId)
  const account = name.toLowerCase()
  if (named.name === account || named.email === account) return true
  return email !== '' && named.email === email.toLowerCase()
}
