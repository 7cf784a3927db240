# @summary A boolean, or the yes and no of the configuration file
type Login_duo::Switch = Variant[Boolean, Enum['yes', 'no']]
