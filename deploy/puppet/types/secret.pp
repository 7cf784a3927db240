# @summary A text that is not shown; a plain one is wrapped
type Login_duo::Secret = Variant[Sensitive[String[1]], String[1]]
