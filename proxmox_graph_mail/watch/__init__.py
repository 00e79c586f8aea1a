"""The watch: once a minute, as root, whether or not the queue runner can start: is there a reason why mail does not leave?

units.py and sights.py look, alarm.py decides what is said and to whom, cluster.py tells the other nodes, watch.py is the program.
The queue runner's own alarm (delivery/alarm.py) knows why Microsoft refuses; the watch knows why the runner cannot say so.
"""
