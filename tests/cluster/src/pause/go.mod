module fairlead/cluster/pause

go 1.25.0
